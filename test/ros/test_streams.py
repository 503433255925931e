"""Limits, synchronized sets, calibration and latencies, over the wire."""

from __future__ import annotations

import time

import pytest
from helpers.ros_peer import FAKE
from helpers.ros_peer import image
from helpers.ros_peer import send_until
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import Image
from theia_msgs.msg import FeatureTensor
from theia_msgs.msg import FeatureTensorArray
from theia_msgs.msg import Latency

from theia_ros.soak import figures

pytestmark = pytest.mark.needs_ros

SURE = {**FAKE, 'autostart': True, 'image_reliability': 'reliable', 'image_depth': 100}
SURE['output_depth'] = 100
TWO = {'cameras': ['a', 'b'], 'image_topics': ['/a/image_raw', '/b/image_raw']}
MS = 1_000_000


def subscribed(peer, node, topic):
    """Wait until the encoder publishes on a topic and has noticed a subscriber of it."""
    peer.wait_for_publisher(topic, node)
    peer.spin(0.5)


def test_pictures_of_one_instant_come_together(peer, start):
    node = start({**SURE, **TWO, 'synchronize': True, 'sync_tolerance_ms': 10.0})
    arrays = peer.collect(FeatureTensorArray, '/theia/features')
    singles = peer.collect(FeatureTensor, '/theia/a/features')
    a, b = (peer.publisher(Image, f'/{name}/image_raw', node) for name in 'ab')
    subscribed(peer, node, '/theia/features')

    for i in range(5):
        a.publish(image(sec=10, nanosec=i * 100 * MS, frame_id='lens_a', level=51))
        b.publish(image(sec=10, nanosec=i * 100 * MS + 4 * MS, frame_id='lens_b', level=204))
        peer.until(lambda i=i: len(arrays) > i, f'set {i}', node)
    b.publish(image(sec=11, nanosec=0))  # without a partner
    a.publish(image(sec=11, nanosec=50 * MS))
    peer.until(lambda: len(singles) == 5, 'features of camera a', node)

    for i, msg in enumerate(arrays):
        assert msg.cameras == ['a', 'b']
        assert [t.header.frame_id for t in msg.tensors] == ['lens_a', 'lens_b']
        assert [t.header.stamp.nanosec for t in msg.tensors] == [
            i * 100 * MS,
            i * 100 * MS + 4 * MS,
        ]
        assert msg.header.stamp == msg.tensors[1].header.stamp
        assert msg.header.frame_id == ''
        assert [list(t.shape) for t in msg.tensors] == [[196, 192]] * 2
    peer.spin(0.5)
    assert len(arrays) == len(singles) == 5


def test_no_more_pictures_than_asked_for(peer, start):
    node = start({**SURE, **TWO, 'max_rate_hz': [5.0, 0.0]})
    limited = peer.collect(FeatureTensor, '/theia/a/features')
    free = peer.collect(FeatureTensor, '/theia/b/features')
    a, b = (peer.publisher(Image, f'/{name}/image_raw', node) for name in 'ab')
    subscribed(peer, node, '/theia/b/features')
    began = time.monotonic()
    for i in range(40):
        a.publish(image(sec=i))
        b.publish(image(sec=i))
        peer.spin(0.05)
    took_s = time.monotonic() - began
    peer.until(lambda: peer.counters('a').get('received') == 40, 'counters', node)
    peer.until(lambda: figures.in_flight(peer.counters('a')) == 0, 'balanced counters', node)

    # At most one at once and then one in 200 ms, however slow this computer is.
    assert 1 < len(limited) <= 1 + took_s * 5 + 1
    assert peer.counters('a')['limited'] > 0
    assert peer.counters('b').get('limited', 0) == 0
    assert len(free) > len(limited)


def test_old_pictures_are_not_encoded(peer, start):
    node = start({**SURE, 'max_age_ms': 5000.0})
    features = peer.collect(FeatureTensor, '/theia/camera/features')
    camera = peer.publisher(Image, '/camera/image_raw', node)
    subscribed(peer, node, '/theia/camera/features')
    now = peer.node.get_clock().now().to_msg()
    camera.publish(image(sec=now.sec - 60))
    peer.until(lambda: peer.counters('camera').get('stale') == 1, 'a stale picture', node)
    now = peer.node.get_clock().now().to_msg()
    camera.publish(image(sec=now.sec, nanosec=now.nanosec))
    peer.until(lambda: features, 'features of a new picture', node)
    assert features[0].header.stamp == now

    assert peer.set_parameter('max_age_ms', 0.0, node) == (True, '')
    camera.publish(image(sec=now.sec - 60))
    peer.until(lambda: len(features) == 2, 'features of an old picture', node)


def test_maps_come_with_the_calibration_of_their_size(peer, start):
    node = start({**SURE, 'map_width_px': 32})
    maps = peer.collect(Image, '/theia/camera/dinov2/image')
    infos = peer.collect(CameraInfo, '/theia/camera/camera_info')
    camera = peer.publisher(Image, '/camera/image_raw', node)
    calibration = peer.publisher(CameraInfo, '/camera/camera_info', node)
    subscribed(peer, node, '/theia/camera/camera_info')
    calibration.publish(
        CameraInfo(
            height=48,
            width=64,
            k=[50.0, 0.0, 31.5, 0.0, 50.0, 23.5, 0.0, 0.0, 1.0],
            p=[50.0, 0.0, 31.5, 0.0, 0.0, 50.0, 23.5, 0.0, 0.0, 0.0, 1.0, 0.0],
        )
    )
    peer.spin(0.5)
    # Again and again: what shared memory loses when it is new, only the next one brings.
    picture = image(sec=3, nanosec=4, frame_id='lens')
    send_until(peer, camera, picture, lambda: maps and infos, 'a map and its calibration', node)

    assert (maps[0].height, maps[0].width, maps[0].encoding) == (24, 32, 'rgb8')
    assert (infos[0].height, infos[0].width) == (24, 32)
    assert infos[0].header == maps[0].header == image(sec=3, nanosec=4, frame_id='lens').header
    assert list(infos[0].k) == [25.0, 0.0, 15.5, 0.0, 25.0, 11.5, 0.0, 0.0, 1.0]


def test_latencies_are_told_for_every_step(peer, start):
    node = start(SURE)
    told = peer.collect(Latency, '/theia/latency')
    features = peer.collect(FeatureTensor, '/theia/camera/features')
    maps = peer.collect(Image, '/theia/camera/dinov2/image')
    camera = peer.publisher(Image, '/camera/image_raw', node)
    subscribed(peer, node, '/theia/camera/dinov2/image')
    now = peer.node.get_clock().now().to_msg()
    camera.publish(image(sec=now.sec, nanosec=now.nanosec))
    peer.until(lambda: features and maps, 'features and a map', node)
    peer.until(lambda: told and len(told[-1].steps) >= 9, 'latencies', node)

    steps = {(s.camera, s.step): s for s in told[-1].steps}
    batch = ('convert', 'preprocess', 'compute', 'copy_back', 'publish', 'decode', 'publish_maps')
    own = ('receive_to_publish', 'stamp_to_publish')
    assert set(steps) == {('', step) for step in batch} | {('camera', step) for step in own}
    for step in steps.values():
        assert step.count == 1
        assert 0 <= step.p50_ms == step.p95_ms == step.p99_ms == step.max_ms < 60_000
    assert (
        steps['camera', 'stamp_to_publish'].p50_ms >= steps['camera', 'receive_to_publish'].p50_ms
    )
    assert steps['camera', 'receive_to_publish'].p50_ms >= steps['', 'publish'].p50_ms
