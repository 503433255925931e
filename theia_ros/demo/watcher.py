"""The demo's subscriber: receives what the encoder publishes and keeps the figures."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Mapping

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from theia_msgs.msg import EncoderInfo
from theia_msgs.msg import FeatureTensor

from theia_ros.conversions import frame_from_image
from theia_ros.conversions import stamp_ns
from theia_ros.demo.sources import Rgb
from theia_ros.nodes import qos

CAMERA = 'camera'
_CAMERA_TOPIC = '/camera/image_raw'
_PREFIX = f'/theia/{CAMERA}/'
_KEEP = 50
"""Pictures that wait for their maps; more than an encoder can have in hand."""


class Watcher(Node):
    """Subscribe to the camera, its features and every map, and join them by their stamps.

    Attributes:
        info: Provenance of the encoder; None until it is active.
        latency_ms: Of each feature message, from the stamp of its image to its arrival here.
        shape: Shape of the last features.
        counters: Newest figures of each status in /diagnostics.
        states: Newest message of each status in /diagnostics.
    """

    def __init__(self, show: Callable[[Mapping[str, Rgb], int], None]) -> None:
        """Begin to look for an encoder.

        Args:
            show: Is given the camera's picture and every map of it that has colours, by topic,
                and its stamp in nanoseconds.
        """
        super().__init__('demo_watcher')
        self.info: EncoderInfo | None = None
        self.latency_ms: list[float] = []
        self.shape: tuple[int, ...] = ()
        self.counters: dict[str, dict[str, str]] = {}
        self.states: dict[str, str] = {}
        self._show = show
        self._waiting: dict[int, dict[str, Rgb]] = {}
        self._topics: list[str] = []
        self.create_subscription(EncoderInfo, '/theia/info', self._on_info, qos.INFO)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)

    def subscribe(self) -> None:
        """Subscribe to the features and to every map that the encoder offers."""
        self.create_subscription(FeatureTensor, f'{_PREFIX}features', self._on_features, 10)
        self.create_subscription(
            Image, _CAMERA_TOPIC, self._collector(_CAMERA_TOPIC), qos_profile_sensor_data
        )
        self._topics = [
            topic
            for topic, types in self.get_topic_names_and_types()
            if topic.startswith(_PREFIX) and 'sensor_msgs/msg/Image' in types
        ]
        for topic in self._topics:
            self.create_subscription(Image, topic, self._collector(topic), 10)

    def _on_info(self, msg: EncoderInfo) -> None:
        self.info = msg

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            self.counters[status.name] = {v.key: v.value for v in status.values}
            self.states[status.name] = status.message

    def _on_features(self, msg: FeatureTensor) -> None:
        self.latency_ms.append((time.time_ns() - stamp_ns(msg)) / 1e6)
        self.shape = tuple(msg.shape)

    def _collector(self, topic: str) -> Callable[[Image], None]:
        def collect(msg: Image) -> None:
            if msg.encoding != 'rgb8':  # numbers, such as depth in 32FC1, have a twin in colour
                if topic in self._topics:
                    self._topics.remove(topic)
                return
            taken_ns = stamp_ns(msg)
            parts = self._waiting.setdefault(taken_ns, {})
            parts[topic] = np.ascontiguousarray(frame_from_image(msg).rgb)
            if len(parts) == 1 + len(self._topics):
                del self._waiting[taken_ns]
                self._show({t: parts[t] for t in (_CAMERA_TOPIC, *self._topics)}, taken_ns)
            while len(self._waiting) > _KEEP:
                del self._waiting[min(self._waiting)]

        return collect
