"""How long named steps take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


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
