"""The examples that are nodes, each in a process of its own, with the real encoder."""

from __future__ import annotations

import array
import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from geometry_msgs.msg import PointStamped
from geometry_msgs.msg import Twist
from helpers import policies
from helpers.ros_peer import FAKE
from helpers.ros_peer import image
from helpers.ros_peer import repeating
from sensor_msgs.msg import Image
from sensor_msgs.msg import JointState

pytestmark = pytest.mark.needs_ros

EXAMPLES = Path(__file__).parents[2] / 'examples'
STARTED = {**FAKE, 'autostart': True}
TOPIC = '/camera/image_raw'
STOP = (0.0, 0.0)


@pytest.fixture(scope='module')
def policy(tmp_path_factory) -> Path:
    """The faster the brighter the picture, and a turn by the angle of the elbow."""
    return policies.make_policy(tmp_path_factory.mktemp('policy'))


def grey(level: int) -> np.ndarray:
    return np.full((48, 64, 3), level, np.uint8)


@contextlib.contextmanager
def filming(peer, encoder, rgb, elbow=0.0, topic=TOPIC):
    """A camera that goes on and on, and a joint, with stamps of the time."""
    camera = peer.publisher(Image, topic, encoder)
    states = peer.publisher(JointState, '/joint_states')
    data = array.array('B', rgb.tobytes())

    def film():
        sec, nanosec = divmod(time.time_ns(), 1_000_000_000)
        msg = image(sec, nanosec, size_hw=rgb.shape[:2], data=data)
        states.publish(JointState(header=msg.header, name=['elbow'], position=[elbow]))
        camera.publish(msg)

    with repeating(film):
        yield


def example(start, name, parameters=None, *ros_args):
    return start(parameters or {}, *ros_args, command=(str(EXAMPLES / name),))


class Commands:
    """The commands that a policy gave, as (forward, turn)."""

    def __init__(self, peer) -> None:
        self._peer = peer
        self._found = peer.collect(Twist, '/cmd_vel')

    def until(self, condition, expected, node) -> None:
        """Wait for a command, among those from now on, that fulfils a condition."""
        self._found.clear()

        def found():
            return any(condition((c.linear.x, c.angular.z)) for c in self._found)

        self._peer.until(found, f'{expected}; there was {self.all[-3:]}', node)

    @property
    def all(self) -> list[tuple[float, float]]:
        return [(c.linear.x, c.angular.z) for c in self._found]


def near(forward: float, turn: float):
    return lambda command: np.allclose(command, (forward, turn), atol=0.15)


def is_stop(command) -> bool:
    return command == STOP


def test_first_policy(peer, start) -> None:
    node = example(start, 'first_policy.py')
    commands = Commands(peer)
    commands.until(is_stop, 'a stop', node)
    node.wait_for('stopped: no features of camera have come: nobody publishes /theia/camera/')

    encoder = start()
    with filming(peer, encoder, grey(51)):
        commands.until(lambda c: np.allclose(c, (0.02, 0.0)), 'a tenth of the brightness', node)
    commands.until(is_stop, 'a stop', node)
    node.wait_for('stopped: the newest features of camera are ')


def test_history(peer, start, tmp_path) -> None:
    cameras = {'cameras': ['front', 'wrist'], 'image_topics': ['/front', '/wrist']}
    encoder = start({**STARTED, **cameras})

    def run() -> subprocess.CompletedProcess[str]:
        script = [sys.executable, EXAMPLES / 'history.py']
        return subprocess.run(script, cwd=tmp_path, capture_output=True, text=True)

    front = filming(peer, encoder, grey(51), 0.25, '/front')
    wrist = filming(peer, encoder, grey(9), 0.25, '/wrist')
    with front, wrist:
        done = run()
        assert done.stdout.count('(4, 192, 14, 14) [') == 5, done.stderr
        assert '0.25]' in done.stdout
        assert json.loads((tmp_path / 'origin.json').read_text())['backend'] == 'fake'

        encoder.stop()
        start({**STARTED, **cameras, 'reduction': 'mean'})
        done = run()
        assert 'ProvenanceError: features of ' in done.stderr
        assert 'reduction is mean, trained with none' in done.stderr


def test_policy_node_acts_stops_and_refuses(peer, start, policy) -> None:
    encoder = start()
    commands = Commands(peer)
    node = example(start, 'policy_node.py', {'policy': policy, 'rate_hz': 20.0})
    commands.until(is_stop, 'a stop before there are features', node)
    with filming(peer, encoder, grey(204), elbow=-0.5):
        commands.until(near(0.8, -0.5), 'what it was trained to do', node)
    commands.until(is_stop, 'a stop without pictures', node)
    with filming(peer, encoder, grey(51), elbow=0.7):
        commands.until(near(0.2, 0.7), 'what it was trained to do', node)

        encoder.stop()
        commands.until(is_stop, 'a stop without an encoder', node)
        node.wait_for('stopped: the newest features of camera are ')
        encoder = start()
        commands.until(near(0.2, 0.7), 'to go on with the same encoder', node)

        encoder.stop()
        encoder = start({**STARTED, 'reduction': 'mean'})
        node.wait_for('reduction is mean, trained with none')
        peer.spin(0.5)  # what was said before is still on its way to the peer
        commands.until(is_stop, 'a stop with another encoder', node)
        peer.spin(1.0)
        assert set(commands.all) == {STOP}

        encoder.stop()
        start()
        commands.until(near(0.2, 0.7), 'to go on with the right encoder', node)
        assert node.stop() == 0
    peer.spin(0.3)
    assert commands.all[-1] == STOP, 'the last word'


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        pytest.param(None, 'is no policy of train_policy.py: ', id='missing'),
        pytest.param('{}', 'is no policy of train_policy.py: ', id='something else'),
    ],
)
def test_policy_node_without_a_policy(start, tmp_path, text, message) -> None:
    path = tmp_path / 'policy.safetensors'
    if text:
        path.write_text(text)
    node = example(start, 'policy_node.py', {'policy': path})
    assert node.wait() == 2
    assert message in node.stderr
    assert node.stderr.count('\n') == 1, node.stderr


def test_feature_similarity_node(peer, start) -> None:
    """Red on the left and green on the right, which are as unlike as can be to the fake engine."""
    encoder = start()
    found = peer.collect(Image, '/similarity/image')
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[:, :32, 0] = rgb[:, 32:, 1] = 200
    node = example(start, 'feature_similarity_node.py', {'pixel': '[10, 40]'})

    # The preprocessing smooths the edge, which is in the middle two of the grid's 14 columns.
    clear = np.r_[0:27, 37:64]

    def pictures(expected: np.ndarray) -> bool:
        return any(
            np.allclose(values(msg)[:, clear], expected[:, clear], atol=1e-6) for msg in found
        )

    def values(msg) -> np.ndarray:
        assert (msg.encoding, msg.step, msg.header.frame_id) == ('32FC1', 256, 'optical')
        return np.frombuffer(msg.data, '<f4').reshape(msg.height, msg.width)

    left = np.zeros((48, 64), np.float32)
    left[:, :32] = 1
    with filming(peer, encoder, rgb):
        peer.until(lambda: pictures(left), 'the left half', node)
        point = peer.publisher(PointStamped, '/similarity/point', node)
        chosen = PointStamped()
        chosen.point.x, chosen.point.y = 60.0, 5.0
        point.publish(chosen)
        peer.until(lambda: pictures(1 - left), 'the right half', node)
        chosen.point.x = 64.0
        point.publish(chosen)
        node.wait_for('pixel (64, 5) is outside of the grid of theia, which covers 64x48 pixels')
