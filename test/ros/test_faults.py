"""Faults that a robot meets, made on purpose; docs/reliability.md says what is promised."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time

import pytest
from builtin_interfaces.msg import Time
from helpers.process import GENEROUS_S
from helpers.process import ROOT
from helpers.ros_peer import FAKE
from helpers.ros_peer import image
from helpers.ros_peer import LATCHED
from helpers.ros_peer import Peer
from helpers.ros_peer import RELIABLE
from helpers.ros_peer import send_until
from helpers.ros_peer import SENSOR
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from theia_msgs.msg import EncoderInfo
from theia_msgs.msg import FeatureTensor

from theia_ros.nodes.process import resident_mb
from theia_ros.soak import figures

pytestmark = pytest.mark.needs_ros

STARTED = {**FAKE, 'autostart': True}
# Nothing is lost on the way, so that counters can be compared exactly.
SURE = {**STARTED, 'image_reliability': 'reliable', 'image_depth': 100}
TOPIC = '/camera/image_raw'
FEATURES = '/theia/camera/features'
TWO = {**SURE, 'cameras': ['front', 'wrist'], 'image_topics': ['/front', '/wrist']}


@pytest.fixture
def mood(tmp_path):
    """The file that the engine obeys."""
    return tmp_path / 'mood'


def start_moody(start, mood):
    return start(
        SURE,
        command=(str(ROOT / 'test' / 'helpers' / 'moody_node.py'),),
        environment={'MOOD_FILE': str(mood)},
    )


@pytest.fixture
def moody(start, mood):
    """A node whose engine obeys the file `mood`."""
    return start_moody(start, mood)


@contextlib.contextmanager
def running(*command):
    """A process beside the node, which ends with the block even if it is stopped."""
    process = subprocess.Popen([sys.executable, '-m', 'theia_ros.soak.peers', *command])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def stopped(process):
    """Let a process stand still."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def engine_tells(peer, level, text):
    """Return whether the newest status of the engine has a level and a text."""
    status = peer.status('theia: engine')
    return status and status.level == getattr(status, level) and text in status.message


def assert_balance(peer, node, camera='camera'):
    """Wait until every received image has ended in a counter."""
    peer.until(
        lambda: (c := peer.counters(camera)) and figures.in_flight(c) == 0,
        f'a balance of {peer.counters(camera)}',
        node,
    )


# --- the engine ----------------------------------------------------------------------------------


def test_engine_fails_for_a_while_and_recovers(peer, moody, mood):
    features = peer.collect(FeatureTensor, FEATURES)
    camera = peer.publisher(Image, TOPIC, moody)
    send_until(peer, camera, image(), lambda: features, 'features', moody)
    peer.until(lambda: engine_tells(peer, 'OK', 'running'), 'a good engine', moody)
    for kind, reason in (
        ('bug', 'division by zero'),
        ('engine', 'the fake device is lost'),
        ('memory', 'CUDA out of memory. Tried to allocate 20.00 MiB'),
    ):
        failed_before = peer.counters('camera')['failed']
        mood.write_text(kind)
        send_until(
            peer,
            camera,
            image(),
            lambda r=reason: engine_tells(peer, 'ERROR', f'the newest batch failed: {r}'),
            f'an error of the kind {kind}',
            moody,
        )
        assert peer.counters('camera')['failed'] > failed_before
        mood.unlink()
        peer.spin(0.5)
        features.clear()
        send_until(peer, camera, image(sec=7), lambda: features, 'features again', moody)
        peer.until(lambda: engine_tells(peer, 'WARN', 'running, but '), 'a warning', moody)

    assert_balance(peer, moody)
    assert 'a batch is lost: Traceback' in moody.said
    assert 'ZeroDivisionError: division by zero' in moody.said
    assert moody.said.count('Traceback') == 1  # what is no bug has none


def test_engine_that_hangs(peer, moody, mood):
    features = peer.collect(FeatureTensor, FEATURES)
    camera = peer.publisher(Image, TOPIC, moody)
    send_until(peer, camera, image(), lambda: features, 'features', moody)
    mood.write_text('hang')
    dropped = peer.counters('camera').get('dropped', 0)

    # The newest still replaces the last, and diagnostics tell so.
    send_until(
        peer,
        camera,
        image(),
        lambda: peer.counters('camera').get('dropped', 0) > dropped + 10,
        'diagnostics beside an engine that hangs',
        moody,
    )

    assert moody.stop(timeout_s=15.0) == 0  # the engine would take minutes
    assert 'ended in the middle of its work' in moody.said


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM], ids=['SIGINT', 'SIGTERM'])
def test_signal_ends_a_node_whose_engine_is_being_built(start, mood, number):
    mood.write_text('endless build')
    moody = start_moody(start, mood)
    moody.wait_for('the engine is built')

    assert moody.stop(number, timeout_s=15.0) == 0
    assert 'Traceback' not in moody.said


# --- other processes stand still, go, or come back -----------------------------------------------


def test_subscriber_that_stops_reading(peer, start):
    node = start({**SURE, 'output_depth': 10})
    features = peer.collect(FeatureTensor, FEATURES)
    with running('subscriber', 'lazy', 'features', FEATURES) as lazy:
        camera = peer.publisher(Image, TOPIC, node)
        peer.until(lambda: peer.node.count_subscribers(FEATURES) == 2, 'both subscribers', node)
        send_until(peer, camera, image(), lambda: len(features) > 10, 'features', node)
        with stopped(lazy):
            before_mb = resident_mb(node.process.pid)
            features.clear()
            for sec in range(200):
                camera.publish(image(sec=sec))
                peer.until(
                    lambda sec=sec: features and features[-1].header.stamp.sec == sec,
                    f'features of image {sec} while another subscriber stands still',
                    node,
                )
            grown_mb = resident_mb(node.process.pid) - before_mb
        assert_balance(peer, node)
        assert len(features) == 200
        # 200 of 150 kB each came out; at most ten of them may wait for the lazy one.
        assert grown_mb < 20


def test_node_that_stood_still_goes_on_with_new_images(peer, start):
    node = start()
    features = peer.collect(FeatureTensor, FEATURES)
    camera = peer.publisher(Image, TOPIC, node, SENSOR)
    send_until(peer, camera, image(), lambda: features, 'features', node)
    with stopped(node.process):
        for _ in range(40):
            camera.publish(image(sec=2))
            peer.spin(0.02)
    features.clear()

    send_until(
        peer,
        camera,
        image(sec=3),
        lambda: features and features[-1].header.stamp.sec == 3,
        'features of a new image',
        node,
    )

    old = [f for f in features if f.header.stamp.sec == 2]
    assert len(old) <= 5  # that the middleware kept for it
    peer.forget_diagnostics()
    assert_balance(peer, node)


@pytest.mark.parametrize('stops', [2, pytest.param(20, marks=pytest.mark.slow)])
def test_node_that_stood_still_hears_every_camera_again(peer, start, stops):
    names = [f'camera_{i}' for i in range(4)]
    topics = [f'/{name}/image_raw' for name in names]
    node = start({**STARTED, 'cameras': names, 'image_topics': topics})
    for name in names:
        peer.collect(FeatureTensor, f'/theia/{name}/features')

    def received():
        peer.forget_diagnostics()
        peer.until(lambda: all(peer.counters(name) for name in names), 'counters', node)
        return {name: peer.counters(name)['received'] for name in names}

    with contextlib.ExitStack() as stack:
        for name, topic in zip(names, topics, strict=True):
            stack.enter_context(running('camera', name, topic, '30'))
        peer.until(lambda: all(received().values()), 'pictures of all cameras', node)
        for i in range(stops):
            with stopped(node.process):
                peer.spin(3.0)
            before = received()
            peer.spin(2.0)
            after = received()
            unheard = [name for name in names if after[name] - before[name] < 10]
            assert not unheard, f'after stop {i + 1}: {unheard}'


def test_camera_that_stands_still_does_not_disturb_the_other(peer, start):
    node = start({**TWO, 'no_image_warning_s': 1.0, 'image_reliability': 'best_effort'})
    front = peer.collect(FeatureTensor, '/theia/front/features')
    wrist = peer.collect(FeatureTensor, '/theia/wrist/features')
    with running('camera', 'wrist', '/wrist', '20') as process:
        camera = peer.publisher(Image, '/front', node)
        send_until(peer, camera, image(), lambda: front and wrist, 'features of both', node)
        with stopped(process):
            peer.spin(0.5)
            wrist.clear()
            front.clear()
            peer.forget_diagnostics()
            before = len(node.said)
            send_until(
                peer, camera, image(), lambda: level(peer, 'wrist') == 'WARN', 'a warning', node
            )
            send_until(peer, camera, image(), lambda: len(front) > 5, 'features of front', node)
            assert wrist == []
            assert 'no image on /wrist for' in peer.status('theia: camera wrist').message
        peer.until(lambda: wrist, 'features of the camera that came back', node)
        send_until(
            peer, camera, image(), lambda: level(peer, 'wrist') == 'OK', 'its good status', node
        )
    assert 'camera front: no image' not in node.said[before:]


def level(peer, camera):
    status = peer.status(f'theia: camera {camera}')
    return status and {status.OK: 'OK', status.WARN: 'WARN', status.ERROR: 'ERROR'}[status.level]


def test_killed_node_that_is_started_again_serves_the_same_subscribers(peer, start):
    features = peer.collect(FeatureTensor, FEATURES)
    infos = peer.collect(EncoderInfo, '/theia/info', LATCHED)
    camera = peer.node.create_publisher(Image, TOPIC, RELIABLE)
    for stamp_sec in (1, 2):
        node = start(SURE)
        send_until(
            peer,
            camera,
            image(sec=stamp_sec),
            lambda sec=stamp_sec: features and features[-1].header.stamp.sec == sec,
            f'features of node {stamp_sec}',
            node,
        )
        peer.until(lambda n=stamp_sec: len(infos) == n, 'its provenance', node)
        node.process.kill()
        node.process.wait()

    assert infos[0].digest == infos[1].digest


def test_camera_process_that_is_started_again(peer, start, domain):
    node = start()
    features = peer.collect(FeatureTensor, FEATURES)
    for sec in (1, 2, 3):
        with Peer(domain, f'camera_{sec}') as other:
            camera = other.publisher(Image, TOPIC, qos=SENSOR)
            send_until(
                other,
                camera,
                image(sec=sec),
                lambda sec=sec: peer.spin(0.05) or (features and stamps(features)[-1] == sec),
                f'features of camera {sec}',
                node,
            )
    assert 'ERROR' not in node.said


def stamps(messages):
    return [msg.header.stamp.sec for msg in messages]


# --- clocks --------------------------------------------------------------------------------------


def test_clock_that_jumps(peer, start):
    node = start({**SURE, 'use_sim_time': True, 'max_age_ms': 1000.0})
    clock = peer.publisher(Clock, '/clock', node)
    features = peer.collect(FeatureTensor, FEATURES)
    camera = peer.publisher(Image, TOPIC, node)
    peer.until(lambda: peer.counters('camera'), 'diagnostics before any clock', node)
    peer.wait_for_publisher(FEATURES, node)

    for now in (1000, 5000, 10, 11):  # forward, far back, and on
        peer.forget_diagnostics()
        features.clear()
        stale = None
        end = time.monotonic() + GENEROUS_S
        # The old stamp is refused and the new one taken, once the node knows the time.
        while not (now in stamps(features) and stale):
            assert time.monotonic() < end, (
                f'at {now}: {stamps(features)}, {peer.counters("camera")}'
            )
            clock.publish(Clock(clock=Time(sec=now)))
            camera.publish(image(sec=now - 5))
            camera.publish(image(sec=now))
            peer.spin(0.1)
            stale = peer.counters('camera').get('stale')

    assert_balance(peer, node)
    assert node.stop() == 0
    assert 'Traceback' not in node.said


# --- disks ---------------------------------------------------------------------------------------


def test_disk_that_is_full_costs_the_log_and_nothing_else(peer, moody, mood):
    features = peer.collect(FeatureTensor, FEATURES)
    camera = peer.publisher(Image, TOPIC, moody)
    send_until(peer, camera, image(), lambda: features, 'features', moody)
    mood.write_text('disk full')
    send_until(peer, camera, image(sec=2), lambda: 2 in stamps(features), 'features', moody)
    mood.write_text('engine')
    send_until(
        peer, camera, image(), lambda: engine_tells(peer, 'ERROR', 'is lost'), 'an error', moody
    )
    mood.unlink()

    send_until(peer, camera, image(sec=3), lambda: 3 in stamps(features), 'features', moody)

    assert moody.stop() == 0
    assert 'is lost' not in moody.said  # it could not write that


def test_log_folder_that_cannot_be_is_one_line(start, tmp_path):
    (tmp_path / 'file').write_text('')
    folder = tmp_path / 'file' / 'log'

    node = start(environment={'ROS_LOG_DIR': str(folder)})

    assert node.wait() == 2
    assert 'Traceback' not in node.said
    lines = [line for line in node.said.splitlines() if 'encoder_node.py: ' in line]
    assert len(lines) == 1, node.said
    assert str(folder) in node.said


def test_two_nodes_with_one_cache(peer, start, tmp_path):
    cache = {'THEIA_ROS_CACHE': str(tmp_path / 'cache')}
    nodes = {
        name: start(SURE, '-r', f'__node:={name}', environment=cache) for name in ('one', 'two')
    }
    got = {name: peer.collect(FeatureTensor, f'/{name}/camera/features') for name in nodes}
    camera = peer.publisher(Image, TOPIC, nodes['one'])

    send_until(peer, camera, image(), lambda: all(got.values()), 'features', nodes['two'])

    assert {msgs[0].provenance for msgs in got.values()} == {got['one'][0].provenance}


# --- quality of service --------------------------------------------------------------------------


def test_quality_that_does_not_match_is_told_with_its_cure(peer, start):
    node = start({**SURE, 'output_reliability': 'best_effort'})
    peer.wait_for_publisher(FEATURES, node)

    peer.publisher(Image, TOPIC, qos=SENSOR)
    peer.collect(FeatureTensor, FEATURES)

    node.wait_for(
        f'{TOPIC}: a publisher has a RELIABILITY that does not match, and is not served; '
        'set image_reliability to best_effort'
    )
    node.wait_for(
        'camera/features: a subscriber has a RELIABILITY that does not match, and is not served; '
        'set output_reliability to reliable'
    )
