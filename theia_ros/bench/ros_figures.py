"""From features that came, and what the node tells, to figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from theia_ros.bench.rounds import spread


@dataclass(frozen=True)
class Received:
    """Features that came.

    Attributes:
        camera: Number of the camera.
        picture: Number of the picture.
        stamp_ns: Of the picture.
        arrived_ns: When the features came, by the same clock.
    """

    camera: int
    picture: int
    stamp_ns: int
    arrived_ns: int


def summary(received: Sequence[Received], cameras: int) -> dict[str, Any]:
    """Return rates, losses and latency of features that came.

    What was sent is known from the numbers of the pictures: those between the first and the
    last that came.

    Args:
        received: Of all cameras.
        cameras: How many there are.
    """
    by_camera: dict[int, list[Received]] = {}
    for one in received:
        by_camera.setdefault(one.camera, []).append(one)
    sent = came = 0
    longest_s = 0.0
    for ones in by_camera.values():
        first, last = min(ones, key=_picture), max(ones, key=_picture)
        sent += last.picture - first.picture
        came += len(ones) - 1
        longest_s = max(longest_s, (last.stamp_ns - first.stamp_ns) / 1e9)
    latencies_ms = [(one.arrived_ns - one.stamp_ns) / 1e6 for one in received]
    return {
        'seconds': longest_s,
        'sent_hz': sent / longest_s / cameras if longest_s else 0.0,
        'features_hz': came / longest_s / cameras if longest_s else 0.0,
        'lost_part': 1 - came / sent if sent else 1.0,
        'latency': spread(latencies_ms or [math.nan]),
    }


def _picture(one: Received) -> int:
    return one.picture


def mean_steps(
    latency: Mapping[tuple[str, str], Mapping[str, float]],
) -> dict[str, dict[str, float]]:
    """Return the latencies of each step; of those that cameras have of their own, the mean."""
    by_step: dict[str, list[Mapping[str, float]]] = {}
    for (_, step), figures in latency.items():
        by_step.setdefault(step, []).append(figures)
    return {
        step: {key: sum(f[key] for f in of_step) / len(of_step) for key in of_step[0]}
        for step, of_step in by_step.items()
    }


def busy_part(steps: Mapping[str, Mapping[str, float]], pictures_hz: float, cameras: int) -> float:
    """Return the part of the time in which the engine computed; cameras may share batches."""
    pictures = cameras * steps['receive_to_publish']['count']
    batches_hz = pictures_hz * steps['compute']['count'] / pictures
    return batches_hz * steps['compute']['p50_ms'] / 1e3
