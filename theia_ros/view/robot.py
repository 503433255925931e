"""The ROS side of the view: finds encoder nodes, and subscribes to what is shown and no more."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import rclpy
from ament_index_python.packages import get_package_share_directory
from ament_index_python.packages import PackageNotFoundError
from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.clock import Clock
from rclpy.clock import ClockType
from rclpy.executors import ExternalShutdownException
from rclpy.executors import ShutdownException
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image
from theia_msgs.msg import EncoderInfo
from theia_msgs.msg import FeatureTensor
from theia_msgs.msg import Latency

from theia_ros.conversions import stamp_ns
from theia_ros.errors import FrameError
from theia_ros.latest import Latest
from theia_ros.nodes import qos
from theia_ros.nodes.process import keep_large_buffers
from theia_ros.rate import RateLimit
from theia_ros.view import panes
from theia_ros.view.hub import packed
from theia_ros.view.panes import Pane
from theia_ros.view.panes import panes_of
from theia_ros.view.pictures import picture_of
from theia_ros.worker import Worker

_TYPES = {
    panes.IMAGE: Image,
    panes.COMPRESSED: CompressedImage,
    panes.FEATURES: FeatureTensor,
}
_INFO = 'theia_msgs/msg/EncoderInfo'
_LEVELS = {
    DiagnosticStatus.OK: 'ok',
    DiagnosticStatus.WARN: 'warn',
    DiagnosticStatus.ERROR: 'error',
}
_OURS = 'theia_ros'
"""Hardware id of the encoder's statuses."""
_LOOK_S = 0.5
_SILENT_S = 3.5
"""A node that has told nothing for so long, though it tells something every second, is away."""
_RATE_WINDOW_S = 2.0
_NO_AGE_MS = 3_600_000
"""Stamps that are further from now are not of this clock."""
# Best effort matches every publisher, and whoever shows pictures wants the newest.
_PROFILE = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


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


@dataclass
class _Heard:
    """What an encoder node has told.

    Attributes:
        info: Newest provenance; None before the first.
        latency: Newest latencies; None before the first.
        heard_s: When it told something last, by the steady clock.
        cameras: Panes of each camera, as long as they could be seen last.
    """

    info: EncoderInfo | None = None
    latency: Latency | None = None
    heard_s: float = -math.inf
    cameras: dict[str, list[Pane]] = field(default_factory=dict)


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
        self._nodes: dict[str, _Heard] = {}
        self._statuses: dict[str, DiagnosticStatus] = {}
        self._known: dict[str, Pane] = {}
        self._wanted: frozenset[str] = frozenset()
        self._subscribed: dict[str, Any] = {}
        self._newest: Latest[_Raw] = Latest(most=1)
        self._context = rclpy.Context()
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node(
            f'theia_view_{os.getpid()}',
            context=self._context,
            enable_rosout=False,
            start_parameter_services=False,
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
                now = {
                    name: panes_of(node, name, image_topic, there)
                    for name, image_topic in zip(
                        heard.info.cameras, heard.info.image_topics, strict=False
                    )
                }
                for name, of_camera in now.items():
                    if len(of_camera) > 1 or name not in heard.cameras:
                        heard.cameras[name] = of_camera  # else the node is away: keep its place
                for name in heard.cameras.keys() - now.keys():
                    del heard.cameras[name]
        self._known = {
            pane.topic: pane
            for heard in self._nodes.values()
            for of_camera in heard.cameras.values()
            for pane in of_camera
        }
        self._subscribe()
        self._tell(self._state(), frozenset(self._known))

    def _watch(self, node: str) -> None:
        """Listen to what a node tells of itself."""
        if node in self._nodes:
            return
        heard = self._nodes[node] = _Heard()

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
        wanted = self._wanted & self._known.keys()
        for topic in self._subscribed.keys() - wanted:
            self._node.destroy_subscription(self._subscribed.pop(topic))
        for topic in wanted - self._subscribed.keys():
            self._subscribed[topic] = self._node.create_subscription(
                _TYPES[self._known[topic].type], topic, self._receiver(topic), _PROFILE, raw=True
            )

    def _receiver(self, topic: str) -> Callable[[bytes], None]:
        limit = RateLimit()
        arrivals: deque[float] = deque()

        def receive(data: bytes) -> None:
            now_s = time.monotonic()
            arrivals.append(now_s)
            while now_s - arrivals[0] > _RATE_WINDOW_S:
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
            if status.hardware_id == _OURS:
                self._statuses[status.name] = status
                for node, heard in self._nodes.items():
                    if _is_engine_of(status, node, heard.info):
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
        self._node.get_logger().error(f'a picture cannot be shown: {error!r}')

    # --- what browsers are told -----------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        now_s = time.monotonic()
        return {
            'nodes': [
                self._node_state(name, heard, now_s) for name, heard in sorted(self._nodes.items())
            ],
            'starting': [
                f'{status.name.partition(":")[0]}: {status.message}'
                for status in self._statuses.values()
                if status.message.startswith('configuring')
            ]
            if self._node.count_publishers('/diagnostics')
            else [],
            'domain': self._context.get_domain_id(),
        }

    def _node_state(self, name: str, heard: _Heard, now_s: float) -> dict[str, Any]:
        engine = next(
            (s for s in self._statuses.values() if _is_engine_of(s, name, heard.info)), None
        )
        silent_s = now_s - heard.heard_s
        return {
            'name': name,
            'away_s': round(silent_s)
            if math.isfinite(silent_s) and silent_s > _SILENT_S
            else None,
            'status': _status(engine),
            'memory_mb': _values(engine).get('memory_mb'),
            'info': heard.info and _info(heard.info),
            'steps': [
                [step.step, step.p50_ms, step.p95_ms, step.p99_ms]
                for step in (heard.latency.steps if heard.latency else ())
                if not step.camera
            ],
            'cameras': [
                self._camera_state(name, camera, of_camera, heard)
                for camera, of_camera in heard.cameras.items()
            ],
        }

    def _camera_state(
        self, node: str, camera: str, of_camera: list[Pane], heard: _Heard
    ) -> dict[str, Any]:
        status = self._statuses.get(f'{node.rpartition("/")[2]}: camera {camera}')
        if status and _values(status).get('topic') != of_camera[0].topic:
            status = None  # of a node with the same name elsewhere
        values = _values(status)
        steps = heard.latency.steps if heard.latency else ()
        return {
            'name': camera,
            'status': _status(status),
            'counters': [[k, int(v)] for k, v in values.items() if v.isdecimal()],
            'steps': [[s.step, s.p50_ms, s.p95_ms, s.p99_ms] for s in steps if s.camera == camera],
            'panes': [{'topic': p.topic, 'title': p.title} for p in of_camera],
        }


def _choose_transport() -> None:
    """Take the transport that the launch files choose, unless one is chosen."""
    variables = (
        'FASTDDS_BUILTIN_TRANSPORTS',
        'FASTDDS_DEFAULT_PROFILES_FILE',
        'FASTRTPS_DEFAULT_PROFILES_FILE',  # what Humble knows
    )
    if any(os.environ.get(name) for name in variables):
        return
    try:
        profile = Path(get_package_share_directory('theia_ros'), 'config', 'fastdds.xml')
    except PackageNotFoundError:
        return
    humble = os.environ.get('ROS_DISTRO') == 'humble'
    os.environ[variables[2 if humble else 1]] = str(profile)


def _is_engine_of(status: DiagnosticStatus, node: str, info: EncoderInfo | None) -> bool:
    """Tell whether a status is of a node's engine; statuses hold the last part of its name."""
    if status.name != f'{node.rpartition("/")[2]}: engine':
        return False
    digest = _values(status).get('digest')
    return not (info and digest) or bool(digest == info.digest)


def _values(status: DiagnosticStatus | None) -> dict[str, str]:
    return {v.key: v.value for v in status.values} if status else {}


def _status(status: DiagnosticStatus | None) -> list[str] | None:
    """Return level and message for people."""
    return [_LEVELS.get(status.level, 'error'), status.message] if status else None


def _info(info: EncoderInfo) -> dict[str, Any]:
    return {
        'model': info.model,
        'backend': info.backend,
        'precision': info.precision,
        'device': info.device,
        'preprocessing': info.preprocessing,
        'reduction': info.reduction,
        'digest': info.digest,
        'weights': info.weights_sha256,
        'versions': list(info.versions),
        'tensors': [
            [t.name, list(t.shape), *_finite(t.parity_cosine, t.parity_max_abs_error)]
            for t in info.tensors
        ],
    }


def _finite(*numbers: float) -> Iterator[float | None]:
    """Give numbers, and None for those that were not measured."""
    for number in numbers:
        yield number if math.isfinite(number) else None


def _rate_hz(arrivals: Sequence[float]) -> float | None:
    """Return the mean rate of arrivals, seconds; None for fewer than two."""
    if len(arrivals) < 2 or arrivals[-1] <= arrivals[0]:
        return None
    return round((len(arrivals) - 1) / (arrivals[-1] - arrivals[0]), 1)
