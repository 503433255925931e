"""Quality of service, by purpose, and what to say when it does not match."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from rclpy.qos import DurabilityPolicy
from rclpy.qos import qos_policy_name_from_kind
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy

try:
    from rclpy.event_handler import PublisherEventCallbacks
    from rclpy.event_handler import SubscriptionEventCallbacks
    from rclpy.event_handler import UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks
    from rclpy.qos_event import SubscriptionEventCallbacks
    from rclpy.qos_event import UnsupportedEventTypeError

from theia_ros import transport

__all__ = [
    'INFO',
    'PublisherEventCallbacks',
    'SubscriptionEventCallbacks',
    'UnsupportedEventTypeError',
    'mismatch',
    'stream',
    'why_silent',
]

INFO = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""For what is said once: reliable, and kept for subscribers that come later."""


def stream(reliability: str, depth: int) -> QoSProfile:
    """Return the profile of a stream of pictures or features.

    Args:
        reliability: `reliable` or `best_effort`.
        depth: Messages that the middleware keeps.
    """
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy[reliability.upper()])


def mismatch(topic: str, other: str, cure: str) -> Callable[[Any], str]:
    """Return what makes a sentence of an incompatible-QoS event.

    Args:
        topic: Topic of the event.
        other: Whose quality does not match: `publisher` or `subscriber`.
        cure: What to do about it.
    """

    def sentence(event: Any) -> str:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        return f'{topic}: a {other} has a {policy} that does not match, and is not served; {cure}'

    return sentence


def why_silent(
    expected_type: str,
    reliability: str,
    publishers: Sequence[Any],
    rmw: str,
    environ: Mapping[str, str],
) -> str:
    """Tell why no image may come, and what may cure it.

    Args:
        expected_type: Type of the messages.
        reliability: What the node asks for.
        publishers: On the topic, as the node's graph tells them.
        rmw: Name of the middleware.
        environ: Variables of the process.
    """
    if not publishers:
        return 'nobody publishes there; ros2 topic list shows the right name'
    who = ', '.join(
        f'{p.node_name} ({p.topic_type}, {p.qos_profile.reliability.name})' for p in publishers
    )
    if all(p.topic_type != expected_type for p in publishers):
        return (
            f'published by {who}, but the node expects {expected_type}; a topic that ends in '
            '/compressed carries CompressedImage, any other Image'
        )
    offered = {p.qos_profile.reliability for p in publishers}
    if reliability == 'reliable' and ReliabilityPolicy.RELIABLE not in offered:
        return f'published by {who}; set image_reliability to best_effort'
    if 'fastrtps' in rmw and not transport.is_chosen(environ):
        return (
            f'published by {who}; Fast DDS loses large images on its default transport, see '
            '"Transport" in docs/node.md; the publisher needs another one, too'
        )
    return (
        f'published by {who}, but none arrives; does the publisher have the same transport '
        'settings?'
    )
