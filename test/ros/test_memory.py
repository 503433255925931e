"""The node holds no more after many pictures, or many lifecycles, than after a few."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import rclpy
from helpers.ros_peer import FAKE
from helpers.ros_peer import image
from helpers.ros_peer import NodeProcess
from helpers.ros_peer import Peer
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from theia_msgs.msg import FeatureTensor

from theia_ros.nodes.encoder_node import EncoderNode
from theia_ros.nodes.process import resident_mb
from theia_ros.soak import figures

pytestmark = pytest.mark.needs_ros


# --- lifecycles ----------------------------------------------------------------------------------

NODE = {**FAKE, 'cameras': ['front', 'wrist'], 'image_topics': ['/front', '/wrist']}


@pytest.fixture
def node(domain):
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain, signal_handler_options=SignalHandlerOptions.NO)
    overrides = [Parameter(name, value=value) for name, value in NODE.items()]
    node = EncoderNode(context=context, parameter_overrides=overrides)
    yield node
    node.destroy_node()
    rclpy.try_shutdown(context=context)


def of_process():
    """Count what the libraries hold as well."""
    return {kind: len(list(Path(f'/proc/self/{kind}').iterdir())) for kind in ('task', 'fd')}


def held(node):
    """Count what the node holds."""
    topics = [name for name, _ in node.get_topic_names_and_types()]
    return {
        'threads': threading.active_count(),
        'publishers': len(list(node.publishers)),
        'subscriptions': len(list(node.subscriptions)),
        'timers': len(list(node.timers)),
        'services': len(list(node.services)),
        'managed': len(node._managed_entities),
        'on the graph': sum(node.count_publishers(t) + node.count_subscribers(t) for t in topics),
    }


def cycle(node):
    """Go round once, and return what is held on the way and at the end."""
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    active = held(node)
    assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
    return active, held(node)


@pytest.mark.parametrize(
    'cycles', [pytest.param(10, id='ten'), pytest.param(100, id='hundred', marks=pytest.mark.slow)]
)
def test_lifecycles_leave_nothing_behind(node, cycles):
    before = held(node)
    for _ in range(3):  # libraries start threads and open files at their first use
        first = cycle(node)
    before_mb, process_before = resident_mb(), of_process()

    for i in range(cycles):
        assert cycle(node) == first, f'cycle {i}'

    assert first[0]['publishers'] > before['publishers']
    assert first[1] == before
    for kind, count in of_process().items():
        assert count <= process_before[kind] + 3, kind  # some come and go
    assert resident_mb() - before_mb < 20


# --- pictures ------------------------------------------------------------------------------------

FRAMES = 100_000
CAMERAS = [f'c{i}' for i in range(8)]


@pytest.mark.slow
def test_a_hundred_thousand_frames_leave_nothing_behind(domain, tmp_path):
    parameters = {
        **FAKE,
        'autostart': True,
        'cameras': CAMERAS,
        'image_topics': [f'/{camera}' for camera in CAMERAS],
        'image_reliability': 'reliable',
        'reduction': 'mean',
    }
    with NodeProcess(tmp_path, parameters) as node, Peer(domain) as peer:
        counts = dict.fromkeys(CAMERAS, 0)
        for camera in CAMERAS:
            topic = f'/theia/{camera}/features'

            def count(_, camera=camera):
                counts[camera] += 1

            peer.node.create_subscription(FeatureTensor, topic, count, 10)
        cameras = [peer.publisher(Image, f'/{camera}', node) for camera in CAMERAS]
        for camera in CAMERAS:
            peer.until(
                lambda c=camera: peer.node.count_publishers(f'/theia/{c}/features'), 'it', node
            )
        peer.spin(1.0)
        samples, msg = [], image(size_hw=(24, 32))
        rounds = FRAMES // len(CAMERAS)
        for i in range(1, rounds + 1):
            for camera in cameras:
                camera.publish(msg)
            peer.until(lambda i=i: min(counts.values()) >= i, f'features of round {i}', node)
            if i % 100 == 0:
                samples.append(resident_mb(node.process.pid))
        peer.forget_diagnostics()
        for camera in CAMERAS:
            peer.until(lambda c=camera: peer.counters(c), 'counters', node)
            counters = peer.counters(camera)
            assert counters['received'] == counters['encoded'] == rounds
            assert figures.in_flight(counters) == 0

    # By the number of the sample and not by time; in MB per frame, it is less than 50 bytes.
    start = len(samples) // 5
    line = figures.growth(range(len(samples)), samples, start)
    bytes_per_frame = (line.to_mb - line.from_mb) * 1e6 / (FRAMES * (1 - start / len(samples)))
    print(f'{line.from_mb:.1f} to {line.to_mb:.1f} MB, {bytes_per_frame:.1f} bytes a frame')
    assert bytes_per_frame < 50
