"""The other side of the encoder node: its process, and a peer that talks to it.

The peer knows the message definitions and nothing else of the project.
"""

from __future__ import annotations

import array
import contextlib
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from helpers.process import GENEROUS_S
from helpers.process import Process
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from lifecycle_msgs.srv import GetState
from rcl_interfaces.msg import Parameter
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.client import Client
from rclpy.executors import SingleThreadedExecutor
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image
from std_msgs.msg import Header

FAKE = {'backend': 'fake', 'model': 'theia-tiny-patch16-224-cddsv'}

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
SENSOR = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(depth=200)


class NodeProcess(Process):
    """A node in a process of its own."""

    def __init__(
        self,
        folder: Path,
        parameters: dict[str, object] | None = None,
        *ros_args: str,
        command: tuple[str, ...] = ('-m', 'theia_ros.nodes.encoder_node'),
        environment: dict[str, str] | None = None,
    ) -> None:
        """Start it; `parameters` are given on the command line, `ros_args` as they are."""
        given = [
            part
            for name, value in (parameters or {}).items()
            for part in ('-p', f'{name}:={_yaml(value)}')
        ]
        arguments = (*command, '--ros-args', *given, *ros_args)
        super().__init__(folder, 'node', *arguments, environment=environment)

    def threads(self) -> int:
        """Return how many threads it has."""
        return len(list(Path(f'/proc/{self.process.pid}/task').iterdir()))


def _yaml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return '[' + ', '.join(map(_yaml, value)) + ']'
    return str(value)


class Peer:
    """A node of a robot: publishes images, subscribes to features, calls services.

    Attributes:
        node: As rclpy made it.
    """

    def __init__(self, domain: int, name: str = 'peer') -> None:
        """Join a domain."""
        self._context = rclpy.Context()
        rclpy.init(
            context=self._context,
            domain_id=domain,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        self.node = rclpy.create_node(name, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._statuses: dict[str, DiagnosticStatus] = {}
        self._clients: dict[str, Client] = {}
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._diagnostics, 10)

    def close(self) -> None:
        """Leave the domain."""
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def __enter__(self) -> Peer:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the domain."""
        self.close()

    # --- time --------------------------------------------------------------------------------

    def spin(self, seconds: float) -> None:
        """Take messages for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._executor.spin_once(timeout_sec=max(0.0, end - time.monotonic()))

    def until(
        self, condition: Callable[[], object], expected: str, node: NodeProcess | None = None
    ) -> None:
        """Take messages until a condition holds; a node that ends meanwhile is a failure."""
        end = time.monotonic() + GENEROUS_S
        while not condition():
            said = f'; it said:\n{node.said}' if node else ''
            assert time.monotonic() < end, f'expected {expected}{said}'
            assert not node or node.process.poll() is None, f'the node ended{said}'
            self._executor.spin_once(timeout_sec=0.05)

    # --- topics ------------------------------------------------------------------------------

    def collect(self, kind: type, topic: str, qos: QoSProfile = RELIABLE) -> list:
        """Subscribe, and return the list that messages will be added to."""
        found: list = []
        self.node.create_subscription(kind, topic, found.append, qos)
        return found

    def publisher(
        self, kind: type, topic: str, node: NodeProcess | None = None, qos: QoSProfile = RELIABLE
    ):
        """Return a publisher that somebody subscribes to, if a node is given."""
        publisher = self.node.create_publisher(kind, topic, qos)
        if node:
            self.until(publisher.get_subscription_count, f'a subscriber of {topic}', node)
        return publisher

    def wait_for_publisher(self, topic: str, node: NodeProcess) -> None:
        """Wait until somebody publishes on a topic."""
        self.until(lambda: self.node.count_publishers(topic), f'a publisher of {topic}', node)

    def topics_below(self, prefix: str) -> set[str]:
        """Return the topics that exist below a name."""
        return {
            name for name, _ in self.node.get_topic_names_and_types() if name.startswith(prefix)
        }

    # --- diagnostics -------------------------------------------------------------------------

    def _diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            self._statuses[status.name] = status

    def status(self, name: str) -> DiagnosticStatus | None:
        """Return the newest status of a name, such as `theia: camera front`."""
        return self._statuses.get(name)

    def counters(self, camera: str) -> dict[str, int]:
        """Return the newest counters of a camera; none before the first."""
        status = self.status(f'theia: camera {camera}')
        values = {v.key: v.value for v in status.values} if status else {}
        return {key: int(value) for key, value in values.items() if value.isdigit()}

    def forget_diagnostics(self) -> None:
        """Let only later ones count."""
        self._statuses.clear()

    # --- services ----------------------------------------------------------------------------

    def call(self, kind: type, service: str, request: object, node: NodeProcess | None = None):
        """Call a service and return what it answers."""
        if service not in self._clients:
            client = self._clients[service] = self.node.create_client(kind, service)
            self.until(client.service_is_ready, f'the service {service}', node)
            self.spin(0.3)  # until the service has noticed us too, else the answer gets lost
        future = self._clients[service].call_async(request)
        self.until(future.done, f'an answer of {service}', node)
        return future.result()

    def transition(self, name: str, node: NodeProcess, encoder: str = '/theia') -> bool:
        """Ask for a transition, such as `configure`, and tell whether it succeeded."""
        number = getattr(Transition, f'TRANSITION_{name.upper()}')
        request = ChangeState.Request(transition=Transition(id=number))
        return self.call(ChangeState, f'{encoder}/change_state', request, node).success

    def state(self, node: NodeProcess, encoder: str = '/theia') -> str:
        """Return the label of the lifecycle state."""
        answer = self.call(GetState, f'{encoder}/get_state', GetState.Request(), node)
        return answer.current_state.label

    def set_parameter(
        self, name: str, value: object, node: NodeProcess, encoder: str = '/theia'
    ) -> tuple[bool, str]:
        """Set a parameter; return whether it was taken, and the reason if not."""
        request = SetParameters.Request(parameters=[Parameter(name=name, value=_value(value))])
        (result,) = self.call(SetParameters, f'{encoder}/set_parameters', request, node).results
        return result.successful, result.reason


def _value(value: object) -> ParameterValue:
    kind, field = {
        bool: (ParameterType.PARAMETER_BOOL, 'bool_value'),
        int: (ParameterType.PARAMETER_INTEGER, 'integer_value'),
        float: (ParameterType.PARAMETER_DOUBLE, 'double_value'),
        str: (ParameterType.PARAMETER_STRING, 'string_value'),
        list: (ParameterType.PARAMETER_STRING_ARRAY, 'string_array_value'),
    }[type(value)]
    return ParameterValue(type=kind, **{field: value})


def image(
    sec: int = 1,
    nanosec: int = 0,
    frame_id: str = 'optical',
    size_hw: tuple[int, int] = (48, 64),
    encoding: str = 'rgb8',
    level: int = 128,
    **changes: object,
) -> Image:
    """Return an image of one grey level."""
    height, width = size_hw
    channels = {'rgb8': 3, 'bgr8': 3, 'bgra8': 4}.get(encoding, 1)
    fields = {
        'header': Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id=frame_id),
        'height': height,
        'width': width,
        'encoding': encoding,
        'step': width * channels,
        'data': array.array('B', bytes([level]) * (height * width * channels)),
    }
    return Image(**{**fields, **changes})


def send_until(
    peer: Peer,
    publisher: Publisher,
    msg: object,
    condition: Callable[[], object],
    expected: str,
    node: NodeProcess,
) -> None:
    """Send a message now and then until something comes of it."""
    end = time.monotonic() + GENEROUS_S
    while not condition():
        assert time.monotonic() < end, f'expected {expected}; the node said:\n{node.said}'
        publisher.publish(msg)
        peer.spin(0.05)


@contextlib.contextmanager
def repeating(act: Callable[[], None], period_s: float = 0.03) -> Iterator[None]:
    """Do something on and on, on a thread of its own."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(period_s):
            act()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def filming(peer: Peer, node: NodeProcess, topic: str, level: int = 128) -> Iterator[None]:
    """Let a camera that sees grey go on and on, with stamps of the time."""
    camera = peer.publisher(Image, topic, node)

    def film() -> None:
        camera.publish(image(*divmod(time.time_ns(), 1_000_000_000), level=level))

    with repeating(film):
        yield


def jpeg(data: bytes, sec: int = 1, frame_id: str = 'optical') -> CompressedImage:
    """Return a compressed image."""
    header = Header(stamp=Time(sec=sec), frame_id=frame_id)
    return CompressedImage(header=header, format='jpeg', data=array.array('B', data))


def numbers(msg) -> np.ndarray:
    """Return the numbers of a FeatureTensor as its definition describes them."""
    kind = {msg.FLOAT32: '<f4', msg.FLOAT16: '<f2'}[msg.dtype]
    return np.frombuffer(msg.data, kind).reshape(tuple(msg.shape))
