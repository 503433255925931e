"""One camera of the node: its subscriptions, and what became of its pictures."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace
from typing import Any

from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image

from theia_ros.conversions import frame_from_compressed
from theia_ros.conversions import frame_from_image
from theia_ros.datatypes import Frame
from theia_ros.nodes import qos
from theia_ros.params import NodeParams
from theia_ros.rate import RateLimit

CameraMessage = Image | CompressedImage

_COMPRESSED = '/compressed'


@dataclass(frozen=True)
class Arrival:
    """A message and when it came, by the steady clock."""

    msg: CameraMessage
    arrived_ns: int


class Camera:
    """Receive one camera's messages and count what becomes of them.

    Every received message ends in exactly one of the counters below it, or is dropped for a newer
    one, which whoever keeps the newest counts.

    Attributes:
        name: As in the parameters.
        topic: Where its messages come from, with the namespace.
        info: Newest calibration; None when the camera has none.
        limit: How often it may be served.
        received: Messages that arrived.
        limited: Not looked at, because of `max_rate_hz`.
        stale: Not looked at, because of `max_age_ms`.
        unwanted: Not looked at, because nobody subscribes to an output.
        bad: Pictures that could not be used, by reason.
        last_bad_ns: When the newest of them was found, by the steady clock.
        failed: Lost to an error, of the engine for instance.
        encoded: Pictures whose features were published, or handed on to be decoded.
        maps_failed: Pictures whose maps were lost to an error.
        lost: Messages that the middleware lost before they arrived.
    """

    def __init__(self, name: str, topic: str) -> None:
        """Make a camera that is not listened to yet."""
        self.name = name
        self.topic = topic
        self.info: CameraInfo | None = None
        self.bad: Counter[str] = Counter()
        self._count_anew()
        self._compressed = topic.endswith(_COMPRESSED)
        self._type = CompressedImage if self._compressed else Image
        self.limit = RateLimit()
        self._last_ns = 0
        self._subscriptions: list[Subscription] = []

    @property
    def type_name(self) -> str:
        """Type of its messages, as the graph calls it."""
        return f'sensor_msgs/msg/{self._type.__name__}'

    def open(
        self,
        node: Node,
        params: NodeParams,
        receive: Callable[[Camera, Arrival], None],
        warn: Callable[[str], None],
    ) -> None:
        """Subscribe.

        Args:
            node: The node that subscribes.
            params: Parameters of the node.
            receive: Is handed every message at once and must not wait.
            warn: Is told of publishers that cannot be heard.
        """

        def received(msg: CameraMessage) -> None:
            self.received += 1
            self._last_ns = time.monotonic_ns()
            receive(self, Arrival(msg, self._last_ns))

        def lost(event: Any) -> None:
            self.lost += event.total_count_change

        self._count_anew()  # as the pipeline, which counts the dropped ones
        sentence = qos.mismatch(self.topic, 'publisher', 'set image_reliability to best_effort')
        self._last_ns = time.monotonic_ns()
        profile = qos.stream(params.image_reliability, params.image_depth)

        def subscribe(**callbacks: Callable[[Any], None]) -> Subscription:
            events = qos.SubscriptionEventCallbacks(**callbacks)
            return node.create_subscription(
                self._type, self.topic, received, profile, event_callbacks=events
            )

        try:
            image = subscribe(incompatible_qos=lambda e: warn(sentence(e)), message_lost=lost)
        except qos.UnsupportedEventTypeError:  # some middlewares cannot tell
            image = subscribe()
        info = node.create_subscription(
            CameraInfo, info_topic(self.topic), self._on_info, qos.stream('best_effort', 1)
        )
        self._subscriptions = [image, info]

    def close(self, node: Node) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            node.destroy_subscription(subscription)
        self._subscriptions = []
        self.info = None

    def frame(self, msg: CameraMessage) -> Frame:
        """Return the picture of a message.

        Raises:
            FrameError: It has none that can be used.
        """
        frame = frame_from_compressed(msg) if self._compressed else frame_from_image(msg)
        return replace(frame, camera=self.name)

    def silent_s(self) -> float:
        """Return the seconds since the last message, or since it was opened."""
        return (time.monotonic_ns() - self._last_ns) / 1e9

    def _count_anew(self) -> None:
        self.received = self.limited = self.stale = self.unwanted = 0
        self.failed = self.encoded = self.maps_failed = self.lost = self.last_bad_ns = 0
        self.bad.clear()

    def _on_info(self, msg: CameraInfo) -> None:
        self.info = msg


def info_topic(image_topic: str) -> str:
    """Return where the calibration of a camera is published, by the convention of image_transport.

    It is beside the raw image: `/front/camera_info` for `/front/image_raw/compressed`.
    """
    base = image_topic.removesuffix(_COMPRESSED)
    return f'{base.rpartition("/")[0]}/camera_info'
