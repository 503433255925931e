"""Quality of service, by purpose."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy

INFO = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""For what is said once: reliable, and kept for subscribers that come later."""


def stream(reliability: str, depth: int) -> QoSProfile:
    """Return the profile of a stream of pictures or features.

    Args:
        reliability: `reliable` or `best_effort`.
        depth: Messages that the middleware keeps.
    """
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy[reliability.upper()])
