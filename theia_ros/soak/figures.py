"""What a soak is judged by: growth of memory, the balance of the counters, and the verdict."""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from typing import Any

import numpy as np

ENDS = ('encoded', 'dropped', 'limited', 'stale', 'unwanted', 'bad', 'failed')
"""Counters of /diagnostics, in one of which every received picture ends."""

MOST_IN_FLIGHT = 4
"""Pictures of a camera inside the node: waiting, encoded, handed over and published."""

MOST_PERCENT_PER_HOUR = 1.0
MOST_UNHEARD = 0.01
"""Part of the pictures that may vanish on the way, such as while participants meet."""

SHORTEST_S = 600.0
"""A line through less than this says nothing about an hour."""


@dataclass(frozen=True)
class Growth:
    """The line of least squares through the memory of a process, after the warm-up.

    Attributes:
        percent_per_hour: Slope, relative to the height of the line at the end of the warm-up.
        error_percent_per_hour: Standard error of the slope, as if the samples were independent.
        from_mb: Height of the line at the end of the warm-up, megabytes.
        to_mb: Height of the line at the end.
        measured_s: Seconds between the two.
    """

    percent_per_hour: float
    error_percent_per_hour: float
    from_mb: float
    to_mb: float
    measured_s: float

    @property
    def long_enough(self) -> bool:
        """Whether the line is long enough to be judged."""
        return self.measured_s >= SHORTEST_S


def growth(times_s: Sequence[float], memory_mb: Sequence[float], warm_up_s: float) -> Growth:
    """Fit a line to what a process held.

    Args:
        times_s: Times of the samples, seconds since the start.
        memory_mb: Samples, megabytes.
        warm_up_s: Samples before this are left out.

    Raises:
        ValueError: Fewer than three samples are left.
    """
    pairs = [(t, mb) for t, mb in zip(times_s, memory_mb, strict=True) if t >= warm_up_s]
    if len(pairs) < 3:
        raise ValueError(f'{len(pairs)} samples after the warm-up; expected 3 or more')
    t, mb = np.array(pairs, dtype=np.float64).T
    from_start = t - t.mean()
    spread = float(from_start @ from_start)
    slope = float(from_start @ (mb - mb.mean())) / spread  # MB/s
    rest = mb - mb.mean() - slope * from_start
    error = float(np.sqrt(rest @ rest / (len(mb) - 2) / spread))
    first = float(mb.mean() + slope * from_start[0])
    measured_s = float(t[-1] - t[0])
    to_percent = 3600 * 100 / first
    return Growth(
        percent_per_hour=slope * to_percent,
        error_percent_per_hour=error * to_percent,
        from_mb=first,
        to_mb=first + slope * measured_s,
        measured_s=measured_s,
    )


def in_flight(counters: Mapping[str, int]) -> int:
    """Return how many received pictures have not ended in any counter yet."""
    return counters['received'] - sum(counters[name] for name in ENDS)


def balance_problems(camera: str, running: Sequence[int], left: int) -> list[str]:
    """Tell where the counters of a camera do not add up.

    Args:
        camera: Its name.
        running: Pictures in flight, in every sample of the run.
        left: The same after the camera had fallen silent.
    """
    problems = []
    if running and min(running) < 0:
        problems.append(f'{camera}: {-min(running)} more pictures ended than were received')
    if running and max(running) > MOST_IN_FLIGHT:
        problems.append(
            f'{camera}: {max(running)} pictures in flight; at most {MOST_IN_FLIGHT} can be'
        )
    if left:
        problems.append(f'{camera}: {left} pictures unaccounted for at the end')
    return problems


def arrival_problems(camera: str, sent: int, counters: Mapping[str, int]) -> list[str]:
    """Tell whether a camera was not heard, which its counters alone cannot show.

    Args:
        camera: Its name.
        sent: Pictures that it published while somebody subscribed.
        counters: Counters of the node for it.
    """
    unheard = sent - counters['received'] - counters['lost']
    if unheard > MOST_UNHEARD * sent:
        return [
            f'{camera}: {unheard} of {sent} pictures neither arrived nor were reported lost; '
            f'at most {MOST_UNHEARD:.0%} may be'
        ]
    return []


def growth_problems(process: str, found: Growth) -> list[str]:
    """Tell whether a process grows too fast; a run that is too short tells nothing."""
    if found.long_enough and found.percent_per_hour > MOST_PERCENT_PER_HOUR:
        return [
            f'{process}: memory grows by {found.percent_per_hour:.2f} % per hour; '
            f'at most {MOST_PERCENT_PER_HOUR:.0f} % is allowed'
        ]
    return []


def report(result: Mapping[str, Any]) -> str:
    """Return the tables of a result, for people."""
    lines = ['process                RSS MB     growth %/h  (+- 1 sigma)']
    for name, of_process in result['memory'].items():
        g = Growth(**of_process)
        judged = '' if g.long_enough else '   too short to judge'
        lines.append(
            f'{name:20} {g.from_mb:7.1f} {g.percent_per_hour:+13.2f}  '
            f'(+- {g.error_percent_per_hour:.2f}){judged}'
        )
    names = ('sent', 'received', *ENDS, 'lost', 'in_flight')
    lines += ['', 'camera      ' + ''.join(f'{name:>10}' for name in names)]
    for camera, counters in result['cameras'].items():
        lines.append(f'{camera:12}' + ''.join(f'{counters[name]:10}' for name in names))
    lines += ['', 'features received  ' + _counts(result['features'])]
    lines += ['maps received      ' + _counts(result['maps']), '']
    lines.append('receive to publish, ms             p50       p95       p99')
    rows = [row for row in result['latency'] if row['step'] == 'receive_to_publish']
    minutes = sorted({row['minute'] for row in rows})
    shown = {minutes[round(i)] for i in np.linspace(0, len(minutes) - 1, 4)} if minutes else ()
    for row in sorted(rows, key=lambda row: (row['camera'], row['minute'])):
        if row['minute'] in shown:
            lines.append(
                f'{row["camera"]:12} minute {row["minute"]:<8.1f}'
                f'{row["p50_ms"]:10.1f}{row["p95_ms"]:10.1f}{row["p99_ms"]:10.1f}'
            )
    lines += ['', *(f'PROBLEM  {problem}' for problem in result['problems'])]
    lines.append(f'verdict: {result["verdict"]}')
    return '\n'.join(lines)


def _counts(counts: Mapping[str, int]) -> str:
    return ', '.join(f'{name} {n}' for name, n in counts.items())


def as_json(result: Mapping[str, Any]) -> str:
    """Return a result as JSON, one line for each of its parts."""
    lines = ',\n'.join(f'{json.dumps(key)}: {json.dumps(part)}' for key, part in result.items())
    return f'{{\n{lines}\n}}\n'


def as_plain(found: Growth) -> dict[str, float]:
    """Return a growth as JSON takes it, without digits that mean nothing."""
    return {name: round(value, 3) for name, value in asdict(found).items()}
