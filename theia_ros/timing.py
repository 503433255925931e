"""How long named steps take, and the percentiles of it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

_WINDOW = 512
"""Newest measurements that the figures are of."""


class Stopwatch:
    """Measure named steps, milliseconds of wall time; a repeated step adds up."""

    def __init__(self) -> None:
        """Start with no step."""
        self.step_ms: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the time that the body takes to the step called `name`."""
        start_ns = time.perf_counter_ns()
        try:
            yield
        finally:
            passed_ms = (time.perf_counter_ns() - start_ns) / 1e6
            self.step_ms[name] = self.step_ms.get(name, 0.0) + passed_ms


@dataclass(frozen=True)
class Spread:
    """Percentiles of a step, milliseconds: of the newest of `count` measurements so far."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


class Latencies:
    """Collect measurements by name, and give their percentiles. Safe for several threads."""

    def __init__(self) -> None:
        """Start with no measurement."""
        self._lock = threading.Lock()
        self._newest: dict[str, deque[float]] = {}
        self._count: dict[str, int] = {}

    def add(self, step_ms: Mapping[str, float]) -> None:
        """Take in one measurement of each step, milliseconds."""
        with self._lock:
            for name, ms in step_ms.items():
                self._newest.setdefault(name, deque(maxlen=_WINDOW)).append(ms)
                self._count[name] = self._count.get(name, 0) + 1

    def spreads(self) -> dict[str, Spread]:
        """Return the percentiles of each step, in the order of their first measurement."""
        with self._lock:
            newest = {name: list(values) for name, values in self._newest.items()}
            counts = dict(self._count)
        return {
            name: Spread(counts[name], *np.percentile(values, (50, 95, 99, 100)).tolist())
            for name, values in newest.items()
        }
