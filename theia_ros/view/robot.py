"""The ROS side of the view: finds encoder nodes, and subscribes to what is shown and no more."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rclpy
from ament_index_python.packages import get_package_share_directory
from ament_index_python.packages import PackageNotFoundError
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock
from rclpy.clock import ClockType
from rclpy.executors import ExternalShutdownException
from rclpy.executors import ShutdownException
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image
from theia_msgs.msg import EncoderInfo
from theia_msgs.msg import FeatureTensor
from theia_msgs.msg import Latency

from theia_ros import transport
from theia_ros.conversions import stamp_ns
from theia_ros.errors import FrameError
from theia_ros.latest import Latest
from theia_ros.nodes import qos
from theia_ros.nodes.process import keep_large_buffers
from theia_ros.rate import RateLimit
from theia_ros.view.hub import packed
from theia_ros.view.panes import COMPRESSED
from theia_ros.view.panes import FEATURES
from theia_ros.view.panes import IMAGE
from theia_ros.view.panes import Pane
from theia_ros.view.panes import panes_of
from theia_ros.view.pictures import picture_of
from theia_ros.view.state import Heard
from theia_ros.view.state import is_engine_of
from theia_ros.view.state import OURS
from theia_ros.view.state import state_of
from theia_ros.worker import Worker

_TYPES = {IMAGE: Image, COMPRESSED: CompressedImage, FEATURES: FeatureTensor}
_INFO = 'theia_msgs/msg/EncoderInfo'
_LOOK_S = 0.5
_RATE_WINDOW_S = 2.0
_NO_AGE_MS = 3_600_000
"""Stamps that are further from now are not of this clock."""
# Best effort matches every publisher, and whoever shows pictures wants the newest.
_PROFILE = qos.stream('best_effort', 1)


@dataclass(frozen=True)
class _Raw:
    """A message as it came.

    Attributes:
        data: Serialized.
        arrived_ns: When it came, by the clock that stamps are of.
        hz: Mean rate of the topic; None after the first message.
    """

    data: bytes
    arrived_ns: int
    hz: float | None


class Robot:
    """A node in a thread of its own, and a worker that makes pictures of messages."""

    def __init__(
        self,
        only: str,
        rate_hz: float,
        width_px: int,
        deliver: Callable[[str, bytes], None],
        tell: Callable[[dict[str, Any], frozenset[str]], None],
    ) -> None:
        """Begin to look for encoder nodes.

        Args:
            only: Full name of the node to show; empty for all.
            rate_hz: Most pictures of a pane in a second.
            width_px: Most columns of a picture.
            deliver: Is given a pane and a message for browsers, on a thread of ours.
            tell: Is given the state, and the panes that can be shown, on a thread of ours.
        """
        keep_large_buffers()
        _choose_transport()
        self._only, self._rate_hz, self._width_px = only, rate_hz, width_px
        self._deliver, self._tell = deliver, tell
        self._nodes: dict[str, Heard] = {}
        self._statuses: dict[str, Any] = {}
        self._known: dict[str, Pane] = {}
        self._wanted: frozenset[str] = frozenset()
        self._subscribed: dict[Pane, Any] = {}
        self._newest: Latest[_Raw] = Latest(most=1)
        self._context = rclpy.Context()
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node(
            f'theia_view_{os.getpid()}',
            context=self._context,
            enable_rosout=False,
            start_parameter_services=False,
            # Nor this service, whose name no policy of SROS2 could name.
            parameter_overrides=[Parameter('start_type_description_service', value=False)],
        )
        self._node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._node.create_timer(_LOOK_S, self._look, clock=steady)
        self._changed = self._node.create_guard_condition(self._subscribe)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._worker = Worker(self._newest, self._show, self._failed)
        self._thread = threading.Thread(target=self._spin, name='theia-view-ros', daemon=True)
        self._thread.start()

    def want(self, topics: frozenset[str]) -> None:
        """Subscribe to these panes and to no others, from any thread."""
        self._wanted = topics
        self._changed.trigger()

    def close(self) -> None:
        """Leave ROS and end the threads."""
        self._executor.shutdown()
        self._worker.stop()
        self._thread.join()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    # --- on the executor's thread ---------------------------------------------------------------

    def _spin(self) -> None:
        with contextlib.suppress(ShutdownException, ExternalShutdownException):
            self._executor.spin()

    def _look(self) -> None:
        """Look at the graph, and tell the state."""
        there = {
            topic: types
            for topic, types in self._node.get_topic_names_and_types()
            # Our own subscriptions keep a topic alive that nobody publishes any more.
            if self._node.count_publishers(topic)
        }
        for topic, types in there.items():
            node = topic.removesuffix('/info')
            if _INFO in types and topic != node and self._only in ('', node):
                self._watch(node)
        for node, heard in self._nodes.items():
            if heard.info:
                _place(node, heard, heard.info, there)
        self._known = {
            pane.topic: pane
            for heard in self._nodes.values()
            for of_camera in heard.cameras.values()
            for pane in of_camera
        }
        self._subscribe()
        statuses = self._statuses if self._node.count_publishers('/diagnostics') else {}
        state = state_of(self._nodes, statuses, self._context.get_domain_id())
        self._tell(state, frozenset(self._known))

    def _watch(self, node: str) -> None:
        """Listen to what a node tells of itself."""
        if node in self._nodes:
            return
        heard = self._nodes[node] = Heard()

        def on_info(msg: EncoderInfo) -> None:
            heard.info = msg
            heard.heard_s = time.monotonic()

        def on_latency(msg: Latency) -> None:
            heard.latency = msg
            heard.heard_s = time.monotonic()

        self._node.create_subscription(EncoderInfo, f'{node}/info', on_info, qos.INFO)
        self._node.create_subscription(Latency, f'{node}/latency', on_latency, 1)

    def _subscribe(self) -> None:
        """Subscribe to what is wanted, and to nothing else."""
        wanted = {self._known[topic] for topic in self._wanted if topic in self._known}
        for pane in self._subscribed.keys() - wanted:
            self._node.destroy_subscription(self._subscribed.pop(pane))
        for pane in wanted - self._subscribed.keys():
            receive = self._receiver(pane.topic)
            self._subscribed[pane] = self._node.create_subscription(
                _TYPES[pane.type], pane.topic, receive, _PROFILE, raw=True
            )

    def _receiver(self, topic: str) -> Callable[[bytes], None]:
        limit = RateLimit()
        arrivals: deque[float] = deque()

        def receive(data: bytes) -> None:
            now_s = time.monotonic()
            arrivals.append(now_s)
            while len(arrivals) > 2 and now_s - arrivals[0] > _RATE_WINDOW_S:
                arrivals.popleft()
            now_ns = round(now_s * 1e9)
            if limit.allows(now_ns):
                limit.count(now_ns, self._rate_hz)
                # Still packed: only a message that is shown is worth the unpacking.
                clock_ns = self._node.get_clock().now().nanoseconds
                self._newest.put(topic, _Raw(data, clock_ns, _rate_hz(arrivals)))

        return receive

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            if status.hardware_id == OURS:
                self._statuses[status.name] = status
                for node, heard in self._nodes.items():
                    if is_engine_of(status, node, heard.info):
                        heard.heard_s = time.monotonic()

    # --- on the worker's thread -----------------------------------------------------------------

    def _show(self, taken: Mapping[str, _Raw]) -> None:
        for topic, raw in taken.items():
            if not (pane := self._known.get(topic)):
                continue
            msg = deserialize_message(raw.data, _TYPES[pane.type])
            head: dict[str, Any] = {'pane': topic, 'hz': raw.hz}
            age_ms = (raw.arrived_ns - stamp_ns(msg)) / 1e6
            head['age_ms'] = age_ms if abs(age_ms) < _NO_AGE_MS else None
            try:
                picture = picture_of(msg, self._width_px)
            except FrameError as exc:
                self._deliver(topic, packed({**head, 'error': str(exc)}))
                continue
            head |= {'type': picture.type, 'size_wh': picture.size_wh, 'note': picture.note}
            self._deliver(topic, packed(head, picture.data))

    def _failed(self, error: Exception) -> None:
        self._node.get_logger().error(
            f'a picture cannot be shown: {error!r}', throttle_duration_sec=5.0
        )


def _place(node: str, heard: Heard, info: EncoderInfo, there: Mapping[str, Sequence[str]]) -> None:
    """Give each camera of a node its panes, and let them stay while the node is away."""
    cameras = dict(zip(info.cameras, info.image_topics, strict=False))
    for name, image_topic in cameras.items():
        panes = panes_of(node, name, image_topic, there)
        if len(panes) > 1 or name not in heard.cameras:
            heard.cameras[name] = panes
    for name in heard.cameras.keys() - cameras.keys():
        del heard.cameras[name]


def _choose_transport() -> None:
    """Take the transport that the launch files choose, unless one is chosen."""
    if transport.is_chosen(os.environ):
        return
    with contextlib.suppress(PackageNotFoundError):
        share = get_package_share_directory('theia_ros')
        profile = str(Path(share, 'config', 'fastdds.xml'))
        os.environ[transport.profile_variable(os.environ)] = profile


def _rate_hz(arrivals: Sequence[float]) -> float | None:
    """Return the mean rate of arrivals, seconds; None for fewer than two."""
    if len(arrivals) < 2 or arrivals[-1] <= arrivals[0]:
        return None
    return round((len(arrivals) - 1) / (arrivals[-1] - arrivals[0]), 1)
