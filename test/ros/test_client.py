"""The policy's side on a real graph, with the real node: nothing between them is made up."""

from __future__ import annotations

import array
import contextlib
import signal
import threading
import time

import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Time
from helpers import synthetic
from helpers.process import GENEROUS_S
from helpers.ros_peer import FAKE
from helpers.ros_peer import filming
from helpers.ros_peer import image
from rclpy.executors import MultiThreadedExecutor
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from sensor_msgs.msg import JointState
from std_msgs.msg import Header
from theia_msgs.msg import FeatureTensor

from theia_ros.client import FeatureSubscriber
from theia_ros.client import joint_positions
from theia_ros.client import Origin
from theia_ros.client import Window
from theia_ros.datatypes import Frame
from theia_ros.encoder import Encoder
from theia_ros.errors import FeatureError
from theia_ros.errors import ParameterError
from theia_ros.errors import ProvenanceError
from theia_ros.errors import StaleError
from theia_ros.params import EncoderParams

pytestmark = pytest.mark.needs_ros

STARTED = {**FAKE, 'autostart': True}
TOPIC = '/camera/image_raw'
MS = 1_000_000
PATIENT_S = 30.0
"""An age that no busy machine reaches, where a test is not about age."""


@pytest.fixture
def client(domain):
    """Make subscribers with nodes of their own, which end with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(FeatureSubscriber(*args, **options))


def error_of(features: FeatureSubscriber) -> FeatureError | None:
    try:
        features.newest()
    except FeatureError as exc:
        return exc
    return None


def eventually(condition, expected):
    """Wait for a condition and return what it gives; `expected` is a text, or makes one."""
    end = time.monotonic() + GENEROUS_S
    while not (found := condition()):
        text = expected if isinstance(expected, str) else expected()
        assert time.monotonic() < end, f'expected {text}'
        time.sleep(0.02)
    return found


def eventually_error(features: FeatureSubscriber, kind: type, text: str) -> FeatureError:
    """Wait until `newest` raises an error of a kind and with a text."""

    def is_it():
        error = error_of(features)
        return error if isinstance(error, kind) and text in str(error) else None

    return eventually(
        is_it, lambda: f'{kind.__name__} with {text!r}; the last was {error_of(features)!r}'
    )


def eventually_said(capfd, *lines: str) -> str:
    """Wait until every line is logged, and return all that was: a log lags what it tells of."""
    said = []

    def all_are():
        said.append(capfd.readouterr().err)
        return all(line in ''.join(said) for line in lines)

    eventually(all_are, lambda: f'{lines}; what was said is {"".join(said)!r}')
    return ''.join(said)


def origin_of(features: FeatureSubscriber) -> Origin:
    """Wait until the encoder has told what the features are made with."""
    eventually(lambda: features.origin.backend, 'the origin of the features')
    return features.origin


def header(stamp_ns: int) -> Header:
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    return Header(stamp=Time(sec=sec, nanosec=nanosec))


# --- where it runs -------------------------------------------------------------------------------


def test_with_a_node_of_its_own(peer, start, client) -> None:
    encoder = start()
    features = client('camera', max_age_s=PATIENT_S)
    with filming(peer, encoder, TOPIC, 51):
        found = features.wait(GENEROUS_S)
        np.testing.assert_allclose(found['camera'].tokens, np.full((196, 192), 0.2), rtol=1e-5)
        assert found['camera'].as_map().shape == (192, 14, 14)
        assert found['camera'].frame_id == 'optical'
        assert 0 < found.latency_s <= found.age_s < PATIENT_S
        assert features.wait(GENEROUS_S).stamp_ns > found.stamp_ns
        assert features.newest().stamp_ns > found.stamp_ns
    counts = features.counts['camera']
    assert counts.received == counts.taken > 1


def test_in_a_node_of_the_user_s(peer, start) -> None:
    encoder = start()
    with FeatureSubscriber('camera', node=peer.node, max_age_s=PATIENT_S) as features:
        assert features.node is peer.node
        with filming(peer, encoder, TOPIC):
            peer.until(lambda: error_of(features) is None, 'features', encoder)
            # The test's own thread is the one that spins.
            with pytest.raises(ParameterError, match=r'on the thread that spins the node peer'):
                features.wait(1.0)
            found = []
            thread = threading.Thread(target=lambda: found.append(features.wait(GENEROUS_S)))
            thread.start()
            peer.until(lambda: found, 'features on another thread', encoder)
            thread.join()
    assert peer.node.count_subscribers('/theia/camera/features') == 0


def test_waiting_for_a_node_that_nobody_spins(peer) -> None:
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('idle', context=context)
    try:
        with (
            FeatureSubscriber('camera', node=node) as features,
            pytest.raises(ParameterError, match='needs somebody who spins the node idle'),
        ):
            features.wait(1.0)
    finally:
        node.destroy_node()
        rclpy.try_shutdown(context=context)


def test_a_callback_may_wait_while_another_thread_spins(peer, start) -> None:
    encoder = start()
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('policy', context=context)
    executor = MultiThreadedExecutor(num_threads=2, context=context)
    executor.add_node(node)
    found = []
    try:
        with FeatureSubscriber('camera', node=node, max_age_s=PATIENT_S) as features:

            def act():
                with contextlib.suppress(StaleError):  # none within the time: once more
                    found.append(features.wait(2.0))

            timer = node.create_timer(0.01, act)
            with filming(peer, encoder, TOPIC):
                end = time.monotonic() + GENEROUS_S
                while len(found) < 3 and time.monotonic() < end:
                    executor.spin_once(timeout_sec=0.1)
            node.destroy_timer(timer)
        stamps = [observation.stamp_ns for observation in found]
        assert len(stamps) >= 3
        assert stamps == sorted(set(stamps))
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown(context=context)


def test_it_shares_the_default_context_and_outlives_it(domain) -> None:
    rclpy.init()
    try:
        features = FeatureSubscriber('camera')
        assert features.node.context is rclpy.get_default_context()
    finally:
        rclpy.shutdown()
    features.close()


def test_closing_leaves_nothing_behind(peer, domain) -> None:
    threads = set(threading.enumerate())
    features = FeatureSubscriber(['front', 'wrist'])
    name = features.node.get_name()
    peer.until(lambda: name in peer.node.get_node_names(), 'the node')
    assert set(threading.enumerate()) > threads
    features.close()
    features.close()
    assert set(threading.enumerate()) == threads
    peer.until(lambda: name not in peer.node.get_node_names(), 'no such node')


# --- what comes ----------------------------------------------------------------------------------


@pytest.mark.parametrize('dtype', ['float32', 'float16'])
def test_features_are_those_of_the_encoder(peer, start, client, tmp_path, dtype) -> None:
    """Of a real model, bit for bit, on the other side of the graph."""
    model = str(synthetic.write_model(tmp_path / 'model', teachers=()))
    encoder = start(
        {'model': model, 'backend': 'torch', 'autostart': True, 'feature_dtype': dtype}
    )
    features = client('camera', max_age_s=PATIENT_S)
    camera = peer.publisher(Image, TOPIC, encoder)
    peer.until(lambda: features.node.count_publishers('/theia/camera/features'), 'the encoder')
    rgb = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    msg = image(*divmod(time.time_ns(), 1_000_000_000), data=array.array('B', rgb.tobytes()))

    def sent_and_received():
        camera.publish(msg)
        with contextlib.suppress(FeatureError):
            return features.wait(0.5)
        return None

    found = eventually(sent_and_received, 'features')['camera']
    with Encoder(EncoderParams(model=model, backend='torch')) as reference:
        expected = reference.encode([Frame(rgb)], ['theia'])[0].features['theia']
        assert found.provenance == reference.provenance.recipe.digest
    assert found.dtype == dtype
    np.testing.assert_array_equal(found.tokens, expected.tokens.astype(dtype))
    np.testing.assert_array_equal(found.as_map(), expected.as_map().astype(dtype))
    assert (found.region, found.grid_hw) == (expected.region, expected.grid_hw)


def test_two_cameras_at_one_instant(peer, start, client) -> None:
    topics = {'cameras': ['front', 'wrist'], 'image_topics': ['/front', '/wrist']}
    encoder = start({**STARTED, **topics})
    features = client(['front', 'wrist'], max_age_s=PATIENT_S)
    with filming(peer, encoder, '/front', 51), filming(peer, encoder, '/wrist', 204):
        for _ in range(3):
            found = features.wait(GENEROUS_S)
            assert found['front'].tokens[0, 0] == pytest.approx(0.2, rel=1e-5)
            assert found['wrist'].tokens[0, 0] == pytest.approx(0.8, rel=1e-5)
            stamps = [found[camera].stamp_ns for camera in ('front', 'wrist')]
            assert max(stamps) == found.stamp_ns


def test_history_and_joint_states_as_of_each_instant(peer, start, client) -> None:
    encoder = start({**STARTED, 'image_reliability': 'reliable', 'image_depth': 100})
    window = Window(steps=3, period_s=0.1, max_gap_s=0.05, gaps='mask')
    features = client('camera', window=window, max_age_s=PATIENT_S)
    features.follow('/joint_states', JointState, joint_positions('elbow'), name='elbow')
    camera = peer.publisher(Image, TOPIC, encoder)
    states = peer.publisher(JointState, '/joint_states')
    peer.until(states.get_subscription_count, 'a subscriber of the joint states')
    peer.until(lambda: peer.node.count_subscribers('/theia/camera/features'), 'the client')

    newest = time.time_ns()
    for back in range(300, -50, -10):  # and 40 ms into the future of the newest picture
        positions = [float(back), 0.0]
        stamp = header(newest - back * MS)
        states.publish(JointState(header=stamp, name=['elbow', 'wrist'], position=positions))
    eventually(lambda: features.counts['elbow'].taken == 35, 'all joint states')

    sent = 0

    def film(back: int, level: int = 0) -> None:
        """Take a picture, and wait until nothing of it is on its way any more."""
        nonlocal sent
        sent += 1
        camera.publish(image(*divmod(newest - back * MS, 1_000_000_000), level=level))
        peer.until(lambda: peer.counters('camera').get('received') == sent, 'a picture', encoder)
        encoded = peer.counters('camera')['encoded']
        eventually(lambda: features.counts['camera'].taken == encoded, 'its features')

    # Until the encoder knows that its features are wanted; older than anything that counts.
    while not features.counts['camera'].taken:
        assert sent < GENEROUS_S, encoder.said
        film(900 - sent)
    for back, level in ((215, 51), (203, 102), (5, 153), (0, 204)):
        film(back, level)

    found = features.newest()
    assert found.stamp_ns == newest
    assert found.valid('camera').tolist() == [True, False, True]
    np.testing.assert_allclose(found.stack('camera')[:, 0, 0], [0.4, 0.0, 0.8], rtol=1e-5)
    assert found.stack('elbow').tolist() == [[200.0], [100.0], [0.0]]
    assert found['elbow'].tolist() == [0.0]


def test_malformed_features_are_counted_and_told_once(peer, client, capfd) -> None:
    features = client('camera', max_age_s=PATIENT_S)
    publisher = peer.publisher(FeatureTensor, '/theia/camera/features')
    peer.until(publisher.get_subscription_count, 'the client')
    good = FeatureTensor(
        header=header(time.time_ns()),
        name='theia',
        dtype=FeatureTensor.FLOAT32,
        shape=[1, 2],
        data=array.array('B', np.array([1.5, 2.5], np.float32).tobytes()),
    )
    short = FeatureTensor(name='theia', dtype=1, shape=[3, 2], data=array.array('B', bytes(8)))
    for msg in (short, FeatureTensor(name='theia', dtype=77), good, short):
        publisher.publish(msg)
    eventually(lambda: features.counts['camera'].received == 4, 'four messages')
    counts = features.counts['camera']
    assert (counts.taken, counts.malformed) == (1, {'size': 2, 'dtype': 1})
    assert features.newest()['camera'].tokens.tolist() == [[1.5, 2.5]]
    lines = ('data has 8 bytes; float32 of shape [3, 2] has 24', 'dtype is 77')
    said = eventually_said(capfd, *lines)
    assert [said.count(line) for line in lines] == [1, 1]


# --- what does not come --------------------------------------------------------------------------


def test_nobody_publishes(client) -> None:
    features = client('camera', encoder='/robot/theia', tensor='clip')
    with pytest.raises(StaleError) as caught:
        features.wait(0.2)
    assert str(caught.value) == (
        'no features of camera have come: nobody publishes /robot/theia/camera/clip/features; is '
        'the encoder active, and the name right?'
    )


def test_no_newer_features_within_the_time(peer, start, client) -> None:
    encoder = start()
    features = client('camera', max_age_s=GENEROUS_S)
    with filming(peer, encoder, TOPIC):
        features.wait(GENEROUS_S)
    peer.spin(0.5)  # what is on its way
    features.newest()
    with pytest.raises(StaleError, match=r'no newer features have come within 0\.3 s'):
        features.wait(0.3)


def test_quality_that_does_not_match_and_one_that_does(peer, start, client, capfd) -> None:
    encoder = start({**STARTED, 'output_reliability': 'best_effort'})
    deaf = client('camera', max_age_s=PATIENT_S)
    hears = client('camera', reliability='best_effort', max_age_s=PATIENT_S)
    with filming(peer, encoder, TOPIC):
        hears.wait(GENEROUS_S)
        error = eventually_error(deaf, StaleError, 'is published')
        assert 'does its QoS match' in str(error)
    eventually_said(
        capfd, 'RELIABILITY that does not match, and is not served; ask for best_effort'
    )


def test_reliability_is_one_of_two(domain) -> None:
    with pytest.raises(ParameterError, match="reliability is 'best'; expected reliable or"):
        FeatureSubscriber('camera', reliability='best')


# --- the encoder dies, and comes back ------------------------------------------------------------


def test_killed_encoder_that_is_started_again(peer, start, client, capfd) -> None:
    encoder = start()
    recorder = client('camera', max_age_s=PATIENT_S)
    with filming(peer, encoder, TOPIC):
        recorder.wait(GENEROUS_S)
        trained_with = eventually(
            lambda: recorder.origin.backend and recorder.origin, 'the origin'
        )
        assert (trained_with.backend, trained_with.reduction) == ('fake', 'none')
        recorder.close()

        features = client('camera', trained_with=trained_with, max_age_s=2.0)
        features.wait(GENEROUS_S)

        encoder.stop(signal.SIGKILL)
        error = eventually_error(features, StaleError, 'the newest features of camera are ')
        assert 's old; expected 2 s or less' in str(error)
        killed_ns = time.time_ns()

        encoder = start()
        found = eventually(lambda: not error_of(features) and features.newest(), 'features again')
        assert found.stamp_ns > killed_ns
        assert found['camera'].provenance == trained_with.digest

        encoder.stop()
        encoder = start({**STARTED, 'reduction': 'mean'})
        error = eventually_error(features, ProvenanceError, 'reduction')
        assert 'features of camera are refused: provenance is ' in str(error)
        assert 'reduction is mean, trained with none' in str(error)
        with pytest.raises(ProvenanceError, match='reduction is mean'):
            features.wait(1.0)
        assert features.counts['camera'].refused > 0

        encoder.stop()
        start()
        found = eventually(lambda: not error_of(features) and features.newest(), 'features again')
        assert found['camera'].shape == (196, 192)
    eventually_said(capfd, 'features are refused: ')


def test_another_backend_or_precision_is_refused_by_name(peer, start, client, tmp_path) -> None:
    model = str(synthetic.write_model(tmp_path / 'model', teachers=()))
    torch = {'model': model, 'backend': 'torch', 'precision': 'fp32', 'autostart': True}
    encoder = start(torch)
    recorder = client('camera', max_age_s=PATIENT_S)
    with filming(peer, encoder, TOPIC):
        recorder.wait(GENEROUS_S)
        trained_with = eventually(
            lambda: recorder.origin.backend and recorder.origin, 'the origin'
        )
        features = client('camera', trained_with=trained_with, max_age_s=PATIENT_S)
        features.wait(GENEROUS_S)
        for change, expected in (
            ({'precision': 'bf16'}, ': precision is bf16, trained with fp32'),
            ({'backend': 'fake'}, ': backend is fake, trained with torch'),
        ):
            encoder.stop()
            encoder = start({**torch, **change})
            error = eventually_error(features, ProvenanceError, expected)
            assert str(error).endswith(expected)


def test_without_a_training_a_new_provenance_begins_anew(peer, start, client, capfd) -> None:
    encoder = start()
    features = client('camera', max_age_s=PATIENT_S)
    with filming(peer, encoder, TOPIC):
        assert features.wait(GENEROUS_S)['camera'].shape == (196, 192)
        encoder.stop()
        start({**STARTED, 'reduction': 'mean'})
        eventually(
            lambda: not error_of(features) and features.newest()['camera'].shape == (1, 192),
            lambda: f'pooled features; the last reason was {error_of(features)!r}',
        )
    eventually_said(capfd, 'features are made otherwise from now on: ')


# --- time ----------------------------------------------------------------------------------------


def test_simulated_time_that_jumps_back(peer, start, capfd) -> None:
    encoder = start()
    context = rclpy.Context()
    rclpy.init(context=context)
    sim = [Parameter('use_sim_time', value=True)]
    node = rclpy.create_node('policy', context=context, parameter_overrides=sim)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    camera = peer.publisher(Image, TOPIC, encoder)
    clock = peer.publisher(Clock, '/clock')

    def step(seconds: float, until, expected: str) -> None:
        """Let it be a time, film, and serve the node until something holds."""
        end = time.monotonic() + GENEROUS_S
        while not until():
            assert time.monotonic() < end, expected
            clock.publish(Clock(clock=Time(sec=int(seconds))))
            camera.publish(image(sec=int(seconds)))
            executor.spin_once(timeout_sec=0.05)

    try:
        with FeatureSubscriber('camera', node=node) as features:
            end = time.monotonic() + GENEROUS_S
            while not features.counts['camera'].taken:  # nobody publishes the clock yet
                assert time.monotonic() < end
                camera.publish(image(sec=100))
                executor.spin_once(timeout_sec=0.05)
            with pytest.raises(StaleError, match=r'100\.00 s ahead of the clock, which is at'):
                features.newest()

            step(100, lambda: not error_of(features), 'features of 100 s')
            assert features.newest()['camera'].stamp_ns == 100_000_000_000

            step(10, lambda: node.get_clock().now().nanoseconds < 11_000_000_000, 'a jump')
            step(10, lambda: not error_of(features), 'features of 10 s')
            found = features.newest()
            assert found.stamp_ns == 10_000_000_000
            assert found.age_s == 0.0
        line = 'the clock jumped back by 90.000 s: observations begin anew'
        assert eventually_said(capfd, line).count(line) == 1
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown(context=context)
