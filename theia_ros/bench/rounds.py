"""Interleaved rounds: A B C, A B C, so that noise of the machine hits all alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from tqdm import tqdm

from theia_ros.bench.contenders import Runner
from theia_ros.datatypes import Frame
from theia_ros.timing import Spread

_WARM_UPS = 3
"""Turns of each before the clock starts: what is done only at first is done."""
_LEAST_ROUNDS = 3
_PAUSE_S = 0.002
"""Before each turn: threads that wait for more work of the last one go to sleep."""

_BAR = '{l_bar}{bar}| {n:.0f}/{total:.0f} s'

_NOT_FEATURES = ('decode', 'message')
"""Steps of an `Encoder` that come after the features."""


def time_case(
    runners: Sequence[Runner],
    frames: Sequence[Frame],
    outputs: Sequence[str],
    rounds: int,
    seconds: float,
    title: str,
) -> dict[str, list[dict[str, float]]]:
    """Let everyone encode the same pictures in turn, as one batch.

    Args:
        runners: In their order.
        frames: Of the batch.
        outputs: To ask for.
        rounds: At most so many.
        seconds: At most so long, but three rounds in any case.
        title: For the progress bar.

    Returns:
        By runner, for each round: how long each step took, milliseconds; and `features`, from
        the pictures to the features on the host, measured around all of it.
    """
    samples: dict[str, list[dict[str, float]]] = {runner.name: [] for runner in runners}
    for runner in runners:
        for _ in range(min(_WARM_UPS, rounds)):
            runner.run(frames, outputs)
    gc.collect()
    end = time.perf_counter() + seconds
    with tqdm(total=seconds, desc=title, bar_format=_BAR, delay=2, leave=False) as progress:
        for done in range(rounds):
            left_s = end - time.perf_counter()
            progress.update(max(0.0, seconds - max(0.0, left_s) - progress.n))
            if done >= _LEAST_ROUNDS and left_s < 0:
                break
            for runner in runners:
                time.sleep(_PAUSE_S)
                started = time.perf_counter_ns()
                _, step_ms = runner.run(frames, outputs)
                passed_ms = (time.perf_counter_ns() - started) / 1e6
                after_ms = sum(step_ms.get(step, 0.0) for step in _NOT_FEATURES)
                samples[runner.name].append({'features': passed_ms - after_ms, **step_ms})
    return samples


def spread(values_ms: Sequence[float]) -> dict[str, Any]:
    """Return what is usual of measurements: count, p50, p95, p99 and worst."""
    p50, p95, p99, worst = np.percentile(values_ms, (50, 95, 99, 100)).tolist()
    return asdict(Spread(len(values_ms), p50, p95, p99, worst))


def rows(
    samples: Mapping[str, Sequence[Mapping[str, float]]], baseline: str, batch: int, outputs: str
) -> list[dict[str, Any]]:
    """Return one row of figures for each runner of a case.

    Args:
        samples: As `time_case` returns them.
        baseline: Name of the runner that the others are compared with.
        batch: Pictures of the batch.
        outputs: What was asked for, in a word.
    """
    spreads = {
        name: {step: spread([s[step] for s in of_rounds]) for step in of_rounds[0]}
        for name, of_rounds in samples.items()
    }
    baseline_ms = spreads[baseline]['features']['p50_ms']
    return [
        {
            'contender': name,
            'batch': batch,
            'outputs': outputs,
            'features': steps.pop('features'),
            'steps': steps,
            'pictures_per_s': 1e3 * batch / spreads_ms,
            'times_baseline': baseline_ms / spreads_ms,
        }
        for name, steps in spreads.items()
        for spreads_ms in [steps['features']['p50_ms']]
    ]


def compare_with_single(table: Sequence[dict[str, Any]], baseline: str) -> None:
    """Tell each row its throughput as a multiple of the baseline's at batch 1, where that ran."""
    single = {
        row['outputs']: row['pictures_per_s']
        for row in table
        if row['contender'] == baseline and row['batch'] == 1
    }
    for row in table:
        of_single = single.get(row['outputs'])
        row['throughput_times_single_baseline'] = (
            row['pictures_per_s'] / of_single if of_single else None
        )
