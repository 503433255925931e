"""One camera of the node: its subscription, and what became of its pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image

from theia_ros.conversions import frame_from_compressed
from theia_ros.conversions import frame_from_image
from theia_ros.datatypes import Frame
from theia_ros.nodes import qos
from theia_ros.params import NodeParams

CameraMessage = Image | CompressedImage


class Camera:
    """Receive one camera's messages and count what becomes of them.

    Attributes:
        name: As in the parameters.
        topic: That its messages come from.
        received: Messages that arrived.
        encoded: Pictures that went through the encoder.
        unwanted: Messages that were not looked at, because nobody subscribes to an output.
        bad: Pictures that could not be used, by reason.
        last_ns: When the last message arrived, by the clock of `now_ns`.
    """

    def __init__(self, name: str, topic: str, now_ns: Callable[[], int]) -> None:
        """Make a camera that is not listened to yet."""
        self.name = name
        self.topic = topic
        self.received = self.encoded = self.unwanted = 0
        self.bad: Counter[str] = Counter()
        self.last_ns = now_ns()
        self._now_ns = now_ns
        self._compressed = topic.endswith('/compressed')
        self._subscription: Subscription | None = None

    def open(
        self, node: Node, params: NodeParams, put: Callable[[str, CameraMessage], None]
    ) -> None:
        """Subscribe; every message is handed to `put` with the camera's name."""

        def received(msg: CameraMessage) -> None:
            self.received += 1
            self.last_ns = self._now_ns()
            put(self.name, msg)

        self.last_ns = self._now_ns()
        self._subscription = node.create_subscription(
            CompressedImage if self._compressed else Image,
            self.topic,
            received,
            qos.stream(params.image_reliability, params.image_depth),
        )

    def close(self, node: Node) -> None:
        """Unsubscribe."""
        if self._subscription:
            node.destroy_subscription(self._subscription)
            self._subscription = None

    def frame(self, msg: CameraMessage) -> Frame:
        """Return the picture of a message.

        Raises:
            FrameError: It has none that can be used.
        """
        return frame_from_compressed(msg) if self._compressed else frame_from_image(msg)

    def silent_s(self) -> float:
        """Return the seconds since the last message, or since it was opened."""
        return (self._now_ns() - self.last_ns) / 1e9
