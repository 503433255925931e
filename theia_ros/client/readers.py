"""Readers of usual messages, for topics that are followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def joint_positions(*names: str) -> Callable[[Any], NDArray[np.float32] | None]:
    """Return a reader of sensor_msgs/JointState: the positions of these joints, in this order.

    It finds joints by name, since their order differs from publisher to publisher, and skips
    messages that lack one of them. A message gives (joints,) float32, radians or metres.
    """

    def read(msg: Any) -> NDArray[np.float32] | None:
        positions = dict(zip(msg.name, msg.position, strict=False))
        if not all(name in positions for name in names):
            return None
        return np.array([positions[name] for name in names], np.float32)

    return read
