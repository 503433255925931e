"""The robot around the encoder nodes of a soak: a camera, or a subscriber, in its own process.

    python -m theia_ros.soak.peers camera NAME TOPIC HZ
    python -m theia_ros.soak.peers subscriber NAME TYPE TOPIC...

Each writes what it has counted as one line of JSON when it is stopped.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from theia_msgs.msg import FeatureTensor

from theia_ros.conversions import packed
from theia_ros.nodes.process import run_node

IMAGE_HW = 480, 640
TYPES = {'features': FeatureTensor, 'maps': Image}


class Camera(Node):  # type: ignore[misc]
    """Publish moving pictures of 640x480 while somebody listens, and count them."""

    def __init__(self, name: str, topic: str, hz: float, counts: dict[str, int]) -> None:
        super().__init__(name)
        height, width = IMAGE_HW
        rng = np.random.default_rng(0)
        coarse = rng.integers(0, 256, (height // 32, width // 32, 3), np.uint8)
        picture = coarse.repeat(32, axis=0).repeat(32, axis=1)
        self._pictures = [packed(np.roll(picture, 40 * i, axis=1)) for i in range(4)]
        self._counts = counts
        self._publisher = self.create_publisher(Image, topic, qos_profile_sensor_data)
        self.create_timer(1 / hz, self._publish)

    def _publish(self) -> None:
        if not self._publisher.get_subscription_count():
            return
        height, width = IMAGE_HW
        sent = self._counts.get('sent', 0)
        self._publisher.publish(
            Image(
                header=Header(stamp=self.get_clock().now().to_msg(), frame_id=self.get_name()),
                height=height,
                width=width,
                encoding='rgb8',
                step=3 * width,
                data=self._pictures[sent % len(self._pictures)],
            )
        )
        self._counts['sent'] = sent + 1


class Subscriber(Node):  # type: ignore[misc]
    """Receive outputs as a policy would, and count them by topic."""

    def __init__(self, name: str, kind: str, topics: list[str], counts: dict[str, int]) -> None:
        super().__init__(name)
        for topic in topics:
            counts[topic] = 0

            def count(_: object, topic: str = topic) -> None:
                counts[topic] += 1

            self.create_subscription(TYPES[kind], topic, count, 5)


def main() -> int:
    """Run until stopped, and tell what was counted."""
    role, name, *rest = sys.argv[1:]
    counts: dict[str, int] = {}

    def make() -> Node:
        if role == 'camera':
            return Camera(name, rest[0], float(rest[1]), counts)
        return Subscriber(name, rest[0], rest[1:], counts)

    status: int = run_node(make, args=[])
    sys.stdout.write(json.dumps(counts) + '\n')
    return status


if __name__ == '__main__':
    sys.exit(main())
