"""The node, its cameras and a subscriber on a graph of their own, each in its own process.

This process is the subscriber.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import Float64
from theia_msgs.msg import EncoderInfo
from theia_msgs.msg import FeatureTensor
from theia_msgs.msg import Latency

from theia_ros.bench.ros_camera import RATE_QOS
from theia_ros.bench.ros_figures import Received
from theia_ros.bench.ros_process import Process
from theia_ros.bench.ros_process import process
from theia_ros.errors import EngineError
from theia_ros.nodes import qos
from theia_ros.nodes.process import keep_large_buffers

NAMESPACE = '/theia_bench'
"""Of everything, so that a robot on the same graph is left alone."""

_START_S = 600.0
"""An engine may have to be built."""
_ANSWER_S = 20.0


class Graph:
    """Start the node and listen to it; a context manager that ends every process.

    Attributes:
        startup_s: From the start of the node's process until it was active.
        info: What the node says of itself.
        received: Features since `forget`.
        counters: Newest of /diagnostics, for each camera and summed up.
        latency: Newest of `~/latency`: milliseconds by figure, by camera and step.
        told: How many /diagnostics came.
    """

    def __init__(
        self, node_params: Mapping[str, str], cameras: int, image_hw: tuple[int, int]
    ) -> None:
        """Start everything and wait until the node is active.

        Args:
            node_params: Of the node, as on a command line, without the cameras.
            cameras: How many.
            image_hw: Rows and columns of their pictures.

        Raises:
            EngineError: The node or a camera ended, or the node did not become active.
        """
        self.info: Any = None
        self.received: list[Received] = []
        self.counters: dict[str, int] = {}
        self.latency: dict[tuple[str, str], dict[str, float]] = {}
        self.told = 0
        self._processes: list[Process] = []
        self._stack = contextlib.ExitStack()
        self._listen([f'camera_{i}' for i in range(cameras)])
        try:
            self._start(node_params, cameras, image_hw)
        except BaseException:
            self.close()
            raise

    def _start(
        self, node_params: Mapping[str, str], cameras: int, image_hw: tuple[int, int]
    ) -> None:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix='theia_bench')))
        names = [f'camera_{i}' for i in range(cameras)]
        topics = [f'{NAMESPACE}/{name}/image_raw' for name in names]
        params = {
            **node_params,
            'autostart': 'true',
            'cameras': f'[{",".join(names)}]',
            'image_topics': f'[{",".join(topics)}]',
        }
        started = time.monotonic()
        self._processes.append(self._run('theia', 'theia_ros.nodes.encoder_node', params, folder))
        self._until(lambda: self.info is not None, _START_S, 'active node')
        self.startup_s = time.monotonic() - started
        size = {'width_px': str(image_hw[1]), 'height_px': str(image_hw[0])}
        self._processes += [
            self._run(name, 'theia_ros.bench.ros_camera', size, folder) for name in names
        ]
        ready = self._rate.get_subscription_count
        self._until(lambda: ready() == cameras, _ANSWER_S, f'{cameras} cameras')

    def _listen(self, cameras: list[str]) -> None:
        keep_large_buffers()
        self._node = node = Node('subscriber', namespace=NAMESPACE, use_global_arguments=False)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._rate = node.create_publisher(Float64, 'rate_hz', RATE_QOS)
        self._change = node.create_client(ChangeState, 'theia/change_state')
        node.create_subscription(EncoderInfo, 'theia/info', self._on_info, qos.INFO)
        node.create_subscription(DiagnosticArray, 'diagnostics', self._on_diagnostics, 10)
        node.create_subscription(Latency, 'theia/latency', self._on_latency, 10)
        for i, name in enumerate(cameras):
            topic = f'theia/{name}/features'
            node.create_subscription(FeatureTensor, topic, self._collector(i), 10)

    def _run(self, name: str, module: str, params: Mapping[str, str], folder: Path) -> Process:
        remaps = (
            f'__ns:={NAMESPACE}',
            f'__node:={name}',
            f'/diagnostics:={NAMESPACE}/diagnostics',
        )
        command = [
            *(sys.executable, '-m', module, '--ros-args'),
            *(part for remap in remaps for part in ('-r', remap)),
            *(part for key, value in params.items() for part in ('-p', f'{key}:={value}')),
        ]
        return self._stack.enter_context(process(name, command, folder))

    # --- what is done to it ---------------------------------------------------------------------

    def set_rate(self, rate_hz: float) -> None:
        """Let every camera send so many pictures a second; 0 is silence."""
        self._rate.publish(Float64(data=rate_hz))

    def restart(self) -> None:
        """Deactivate and activate the node, so that its latencies begin anew."""
        for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE):
            request = ChangeState.Request(transition=Transition(id=transition))
            future = self._change.call_async(request)
            self._until(future.done, _ANSWER_S, 'change of state')
            if not future.result().success:
                raise EngineError('the node refused to change its state')
        self.latency.clear()

    def forget(self) -> None:
        """Begin to collect features anew."""
        self.received.clear()

    def spin(self, seconds: float) -> None:
        """Receive for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=min(left, 0.1))
        self._check()

    def next_report(self) -> dict[str, int]:
        """Receive until the node tells its counters, and return them."""
        told = self.told
        self._until(lambda: self.told > told, _ANSWER_S, 'diagnostics')
        return dict(self.counters)

    def wait_for_features(self, cameras: int) -> None:
        """Receive until there are features of every camera."""
        self._until(
            lambda: len({r.camera for r in self.received}) == cameras, _ANSWER_S, 'features'
        )

    @property
    def pid(self) -> int:
        """Process of the node."""
        return self._processes[0].popen.pid

    def cpu_s(self) -> float:
        """Return the processor time that the node has taken so far, seconds."""
        after_name = Path(f'/proc/{self.pid}/stat').read_text().rpartition(')')[2].split()
        return (int(after_name[11]) + int(after_name[12])) / os.sysconf('SC_CLK_TCK')

    def close(self) -> None:
        """End every process."""
        self._stack.close()
        self._executor.shutdown()
        self._node.destroy_node()

    def __enter__(self) -> Graph:
        """Return the graph itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End every process."""
        self.close()

    # --- what comes -----------------------------------------------------------------------------

    def _until(self, done: Callable[[], bool], timeout_s: float, expected: str) -> None:
        end = time.monotonic() + timeout_s
        while not done():
            self._check()
            if time.monotonic() > end:
                raise EngineError(f'no {expected} within {timeout_s:.0f} s')
            self._executor.spin_once(timeout_sec=0.1)

    def _check(self) -> None:
        for one in self._processes:
            one.check()

    def _on_info(self, msg: Any) -> None:
        self.info = msg

    def _on_diagnostics(self, msg: Any) -> None:
        cameras = [s for s in msg.status if s.name.startswith('theia: camera ')]
        if not cameras:
            return
        self.counters = {}
        for status in cameras:
            for value in status.values:
                if value.value.isdigit():
                    before = self.counters.get(value.key, 0)
                    self.counters[value.key] = before + int(value.value)
        self.told += 1

    def _on_latency(self, msg: Any) -> None:
        for step in msg.steps:
            figures = {f'{k}_ms': getattr(step, f'{k}_ms') for k in ('p50', 'p95', 'p99', 'max')}
            self.latency[step.camera, step.step] = {'count': step.count, **figures}

    def _collector(self, camera: int) -> Callable[[Any], None]:
        def collect(msg: Any) -> None:
            now_ns, stamp = time.time_ns(), msg.header.stamp
            stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
            self.received.append(Received(camera, int(msg.header.frame_id), stamp_ns, now_ns))

        return collect
