"""The encoder node from outside: a process of its own, and a peer on the same graph."""

from __future__ import annotations

import io
import os
import signal
import time

import numpy as np
import pytest
from helpers import synthetic
from helpers.process import GENEROUS_S
from helpers.process import ROOT
from helpers.ros_peer import FAKE
from helpers.ros_peer import image
from helpers.ros_peer import jpeg
from helpers.ros_peer import LATCHED
from helpers.ros_peer import numbers
from helpers.ros_peer import Peer
from helpers.ros_peer import send_until
from helpers.ros_peer import SENSOR
from PIL import Image as Picture
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from theia_msgs.msg import EncoderInfo
from theia_msgs.msg import FeatureTensor

from theia_ros.soak import figures

pytestmark = pytest.mark.needs_ros

SLOW = (str(ROOT / 'test' / 'helpers' / 'slow_node.py'),)
STARTED = {**FAKE, 'autostart': True}
# Nothing is lost on the way, so that counters can be compared exactly.
SURE = {**STARTED, 'image_reliability': 'reliable', 'image_depth': 100, 'output_depth': 100}
CAMERA_TOPIC = '/camera/image_raw'
FEATURES = '/theia/camera/features'
STOP_S = 2.0
"""Promised time from a signal to the end of the process."""
ATTEMPTS = 3


def stamp(msg):
    return msg.header.stamp.sec, msg.header.stamp.nanosec


# --- features ------------------------------------------------------------------------------------


def test_each_image_becomes_features_with_its_header(peer, start):
    node = start(SURE)
    features = peer.collect(FeatureTensor, FEATURES)
    infos = peer.collect(EncoderInfo, '/theia/info', LATCHED)
    camera = peer.publisher(Image, CAMERA_TOPIC, node)
    peer.until(lambda: infos, 'provenance', node)
    send_until(peer, camera, image(sec=-5), lambda: features, 'features', node)
    peer.spin(0.5)  # those sent until somebody subscribed
    features.clear()
    sent = [
        image(sec, nanosec, frame_id, level=level)
        for sec, nanosec, frame_id, level in (
            (0, 0, '', 0),
            (0, 1, 'front_optical', 51),
            (1_700_000_000, 123_456_789, 'front_optical', 102),
            (1_700_000_000, 123_456_790, 'robot1/front_optical', 153),
            (5, 0, 'the clock went back', 204),
            (2**31 - 1, 999_999_999, 'front_optical', 255),
            (-1, 999_999_999, 'front_optical', 255),
        )
    ]

    for i, msg in enumerate(sent):
        camera.publish(msg)
        peer.until(lambda i=i: len(features) > i, f'features of image {i}', node)

    assert [f.header for f in features] == [msg.header for msg in sent]
    for f, msg in zip(features, sent, strict=True):
        assert (f.model, f.name) == ('theia-tiny-patch16-224-cddsv', 'theia')
        assert f.provenance == infos[0].digest
        assert (f.dtype, list(f.shape)) == (FeatureTensor.FLOAT32, [196, 192])
        assert (f.grid_height, f.grid_width) == (14, 14)
        assert (f.region.width, f.region.height) == (64, 48)
        np.testing.assert_allclose(numbers(f), msg.data[0] / 255, rtol=1e-5)
    assert len(infos) == 1


def test_grid_lies_on_the_picture(peer, start):
    node = start(SURE)
    whole = peer.collect(FeatureTensor, FEATURES)
    middle = peer.collect(FeatureTensor, '/theia/camera/dinov2/features')
    camera = peer.publisher(Image, CAMERA_TOPIC, node)
    peer.wait_for_publisher(FEATURES, node)
    pixels = np.zeros((140, 280, 3), np.uint8)
    pixels[:10, 260:, 0] = 255  # the upper right patch, red
    msg = image(size_hw=(140, 280))
    msg.data = msg.data[:0]
    msg.data.frombytes(pixels.tobytes())

    send_until(peer, camera, msg, lambda: whole and middle, 'both tensors', node)

    patches = numbers(whole[0]).reshape(14, 14, 192)
    assert np.argwhere(patches[..., 0] > 0.9).tolist() == [[0, 13]]
    assert patches[0, 13, :3] == pytest.approx([1.0, 0.0, 0.0], abs=0.1)
    assert numbers(middle[0]).max() < 0.1
    region = middle[0].region
    # 196 of 224: a sixteenth of each side is left out.
    assert (region.x_offset, region.y_offset) == (18, 9)
    assert (region.width, region.height) == (244, 122)
    assert (middle[0].grid_height, middle[0].grid_width) == (16, 16)


def test_features_at_camera_rate(peer, start):
    node = start(SURE)
    features = peer.collect(FeatureTensor, FEATURES)
    camera = peer.publisher(Image, CAMERA_TOPIC, node)
    peer.wait_for_publisher(FEATURES, node)
    send_until(peer, camera, image(sec=1), lambda: features, 'features', node)
    sent = [image(sec=100, nanosec=i, frame_id=f'f{i}') for i in range(60)]

    for msg in sent:
        camera.publish(msg)
        peer.spin(1 / 30)
    peer.until(lambda: stamp(features[-1]) == (100, 59), 'features of the newest image', node)

    headers = [f.header for f in features if f.header.stamp.sec == 100]
    assert all(header == sent[header.stamp.nanosec].header for header in headers)
    order = [header.stamp.nanosec for header in headers]
    assert order == sorted(set(order))


def balanced(counters):
    """Tell whether every image is accounted for, with up to three in hand."""
    return 0 <= figures.in_flight(counters) <= 3


def test_newest_image_wins_and_every_image_is_accounted_for(peer, start):
    node = start(SURE, command=SLOW, environment={'SLOW_INFER_S': '0.3'})
    features = peer.collect(FeatureTensor, FEATURES)
    camera = peer.publisher(Image, CAMERA_TOPIC, node)
    peer.wait_for_publisher(FEATURES, node)

    for i in range(60):
        camera.publish(image(sec=100, nanosec=i))
        peer.spin(0.02)
    peer.until(lambda: features and stamp(features[-1]) == (100, 59), 'the newest', node)
    peer.until(
        lambda: (
            peer.counters('camera').get('received') == 60
            and peer.counters('camera')['encoded'] == len(features)
        ),
        'settled counters',
        node,
    )

    order = [stamp(f)[1] for f in features]
    assert order == sorted(set(order))
    counters = peer.counters('camera')
    assert counters['dropped'] > 0
    assert counters['encoded'] + counters['dropped'] + counters['unwanted'] == 60
    assert counters['bad'] == 0


def test_nothing_is_computed_while_nobody_subscribes(peer, start):
    node = start(SURE)
    camera = peer.publisher(Image, CAMERA_TOPIC, node)

    send_until(
        peer,
        camera,
        image(),
        lambda: peer.counters('camera').get('unwanted', 0) > 5,
        'unwanted images',
        node,
    )
    assert peer.counters('camera')['encoded'] == 0

    views = peer.collect(Image, '/theia/camera/dinov2/image')
    send_until(peer, camera, image(sec=7), lambda: views, 'a view', node)
    assert (views[0].header, views[0].encoding) == (image(sec=7).header, 'rgb8')
    assert (views[0].height, views[0].width) == (48, 64)

    for subscription in list(peer.node.subscriptions):
        if subscription.topic_name == '/theia/camera/dinov2/image':
            peer.node.destroy_subscription(subscription)
    peer.until(lambda: peer.node.count_subscribers('/theia/camera/dinov2/image') == 0, 'nobody')
    # Until the node has noticed too.
    before = peer.counters('camera').get('unwanted', 0)
    send_until(
        peer,
        camera,
        image(),
        lambda: peer.counters('camera')['unwanted'] > before + 5,
        'unwanted images again',
        node,
    )
    assert balanced(peer.counters('camera'))


def test_only_the_wanted_output_is_published(peer, start):
    node = start(SURE)
    clip = peer.collect(FeatureTensor, '/theia/camera/clip/features')
    camera = peer.publisher(Image, CAMERA_TOPIC, node)

    send_until(peer, camera, image(), lambda: len(clip) > 2, 'features of clip', node)
    theia = peer.collect(FeatureTensor, FEATURES)
    send_until(peer, camera, image(), lambda: theia, 'features of theia', node)

    assert {f.name for f in clip} == {'clip'}
    assert list(clip[0].shape) == [256, 1024]
    assert {f.name for f in theia} == {'theia'}


def test_half_precision_on_the_wire(peer, start):
    node = start({**SURE, 'feature_dtype': 'float16', 'reduction': 'mean'})
    features = peer.collect(FeatureTensor, FEATURES)
    infos = peer.collect(EncoderInfo, '/theia/info', LATCHED)
    camera = peer.publisher(Image, CAMERA_TOPIC, node)

    send_until(peer, camera, image(level=51), lambda: features and infos, 'features', node)

    (f, *_) = features
    assert (f.dtype, list(f.shape)) == (FeatureTensor.FLOAT16, [1, 192])
    assert (f.grid_height, f.grid_width) == (0, 0)
    assert len(f.data) == 2 * 192
    np.testing.assert_allclose(numbers(f), 0.2, rtol=1e-3)
    theia = next(t for t in infos[0].tensors if t.name == 'theia')
    assert (theia.dtype, list(theia.shape)) == (FeatureTensor.FLOAT16, [1, 192])
    assert infos[0].reduction == 'mean'


def test_provenance_waits_for_late_subscribers(peer, start):
    node = start({**SURE, 'cameras': ['front'], 'image_topics': ['front/image_raw']})
    node.wait_for('active:')

    infos = peer.collect(EncoderInfo, '/theia/info', LATCHED)
    peer.until(lambda: infos, 'provenance', node)

    (info,) = infos
    assert info.model == 'theia-tiny-patch16-224-cddsv'
    assert (info.backend, info.precision) == ('fake', 'fp32')
    assert (info.preprocessing, info.reduction) == ('official', 'none')
    assert info.weights_sha256 == ''  # no weights took part
    assert list(info.cameras) == ['front']
    assert list(info.image_topics) == ['/front/image_raw']
    assert len(info.digest) == 64
    assert info.tensors[0].name == 'theia'
    assert {t.name for t in info.tensors} == {
        'theia', 'clip', 'dinov2', 'vit', 'sam', 'depth_anything'
    }  # fmt: skip
    assert any(v.startswith('torch=') for v in info.versions)
    assert info.stamp.sec > 0


def test_real_model_gives_the_numbers_of_the_encoder(peer, start, tmp_path):
    from theia_ros.datatypes import Frame
    from theia_ros.encoder import Encoder
    from theia_ros.params import EncoderParams

    folder = synthetic.write_model(tmp_path / 'tiny', teachers=['dinov2'])
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (120, 160, 3), np.uint8)
    node = start({**SURE, 'backend': 'torch', 'device': 'cpu', 'model': str(folder)})
    theia = peer.collect(FeatureTensor, FEATURES)
    dinov2 = peer.collect(FeatureTensor, '/theia/camera/dinov2/features')
    infos = peer.collect(EncoderInfo, '/theia/info', LATCHED)
    camera = peer.publisher(Image, CAMERA_TOPIC, node)
    msg = image(size_hw=(120, 160))
    msg.data = msg.data[:0]
    msg.data.frombytes(pixels.tobytes())

    send_until(peer, camera, msg, lambda: theia and dinov2 and infos, 'features', node)

    with Encoder(EncoderParams(model=str(folder), backend='torch', device='cpu')) as encoder:
        (expected,) = encoder.encode([Frame(pixels)], ['theia', 'dinov2'])
        assert infos[0].digest == encoder.provenance.recipe.digest
    for name, found in (('theia', theia[0]), ('dinov2', dinov2[0])):
        np.testing.assert_allclose(
            numbers(found), expected.features[name].tokens, rtol=0, atol=1e-5, err_msg=name
        )
        assert found.model == str(folder)
        assert found.provenance == infos[0].digest
    assert len(infos[0].weights_sha256) == 64


# --- cameras -------------------------------------------------------------------------------------

TWO = {
    **SURE,
    'cameras': ['front', 'wrist'],
    'image_topics': ['/front/image_raw', '/wrist/image_raw/compressed'],
}


def encoded(rgb, fmt):
    file = io.BytesIO()
    Picture.fromarray(rgb).save(file, fmt)
    return file.getvalue()


def test_two_cameras_one_of_them_compressed(peer, start):
    node = start(TWO)
    front = peer.collect(FeatureTensor, '/theia/front/features')
    wrist = peer.collect(FeatureTensor, '/theia/wrist/features')
    raw = peer.publisher(Image, '/front/image_raw', node)
    packed = peer.publisher(CompressedImage, '/wrist/image_raw/compressed', node)
    grey = encoded(np.full((30, 50, 3), 51, np.uint8), 'PNG')

    send_until(peer, raw, image(sec=3, level=204), lambda: front, 'features of front', node)
    assert not wrist
    send_until(peer, packed, jpeg(grey, sec=4), lambda: wrist, 'features of wrist', node)

    assert front[0].header == image(sec=3).header
    assert wrist[0].header == jpeg(grey, sec=4).header
    np.testing.assert_allclose(numbers(front[0]), 0.8, rtol=1e-5)
    np.testing.assert_allclose(numbers(wrist[0]), 0.2, rtol=1e-5)
    assert (wrist[0].region.width, wrist[0].region.height) == (50, 30)
    assert front[0].provenance == wrist[0].provenance


def test_changing_camera_does_not_disturb_the_other(peer, start):
    node = start({**TWO, 'image_topics': ['/front/image_raw', '/wrist/image_raw']})
    front = peer.collect(FeatureTensor, '/theia/front/features')
    wrist = peer.collect(FeatureTensor, '/theia/wrist/features')
    steady = peer.publisher(Image, '/front/image_raw', node)
    moody = peer.publisher(Image, '/wrist/image_raw', node)
    send_until(peer, steady, image(sec=99), lambda: front, 'front', node)
    send_until(peer, moody, image(sec=99), lambda: wrist, 'wrist', node)
    peer.spin(0.5)
    front.clear()
    wrist.clear()
    moods = [
        image(sec=1, level=51),
        None,  # silent
        image(sec=2, size_hw=(30, 90), level=51),
        image(sec=3, size_hw=(30, 90), encoding='mono8', level=51),
        image(sec=4, size_hw=(31, 17), encoding='bayer_rggb8', level=51),
        image(sec=5, encoding='what is this', level=51),
        image(sec=1, encoding='bgra8', level=51),  # its clock restarted
    ]

    sent = 0
    for mood in moods:
        for _ in range(3):
            before = len(front), len(wrist)
            if mood:
                moody.publish(mood)
            steady.publish(image(sec=100, nanosec=sent))
            sent += 1
            peer.until(lambda n=before[0]: len(front) > n, f'front at {mood}', node)
            if mood and mood.encoding != 'what is this':
                peer.until(lambda n=before[1]: len(wrist) > n, f'wrist at {mood}', node)

    assert [stamp(f) for f in front] == [(100, i) for i in range(sent)]
    assert [stamp(f)[0] for f in wrist] == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 1, 1, 1]
    for f in wrist:
        np.testing.assert_allclose(numbers(f), 0.2, rtol=1e-5)
    assert [(f.region.height, f.region.width) for f in wrist[::3]] == [
        (48, 64), (30, 90), (30, 90), (31, 17), (48, 64)
    ]  # fmt: skip
    peer.forget_diagnostics()
    peer.until(
        lambda: peer.counters('front') and peer.counters('wrist').get('bad'), 'counters', node
    )
    assert 'encoding' in peer.status('theia: camera wrist').message
    assert peer.counters('front')['bad'] == 0
    assert balanced(peer.counters('front'))
    assert balanced(peer.counters('wrist'))


def test_cameras_of_different_size_with_native_preprocessing(peer, start):
    node = start(
        {
            **TWO,
            'image_topics': ['/front/image_raw', '/wrist/image_raw'],
            'preprocessing': 'native',
        }
    )
    front = peer.collect(FeatureTensor, '/theia/front/features')
    wrist = peer.collect(FeatureTensor, '/theia/wrist/features')
    one = peer.publisher(Image, '/front/image_raw', node)
    other = peer.publisher(Image, '/wrist/image_raw', node)
    send_until(peer, one, image(size_hw=(32, 48)), lambda: front, 'front', node)
    send_until(peer, other, image(size_hw=(64, 16)), lambda: wrist, 'wrist', node)

    for _ in range(10):
        before = len(front), len(wrist)
        one.publish(image(size_hw=(32, 48)))
        other.publish(image(size_hw=(64, 16)))
        peer.until(lambda b=before: len(front) > b[0] and len(wrist) > b[1], 'both', node)
    other.publish(image(size_hw=(60, 16)))
    peer.until(lambda: peer.counters('wrist').get('bad') == 1, 'a bad image', node)

    assert {(f.grid_height, f.grid_width) for f in front} == {(2, 3)}
    assert {(f.grid_height, f.grid_width) for f in wrist} == {(4, 1)}
    node.wait_for('multiples of 16, found 16x60; 16x48 fits')
    assert peer.counters('front')['bad'] == 0


def test_bad_images_are_counted_by_reason_and_told_once(peer, start):
    node = start(SURE)
    features = peer.collect(FeatureTensor, FEATURES)
    camera = peer.publisher(Image, CAMERA_TOPIC, node)
    peer.wait_for_publisher(FEATURES, node)
    send_until(peer, camera, image(), lambda: features, 'features', node)
    huge = {'height': 2**32 - 1, 'width': 2**30, 'step': 2**32 - 1}
    bad = {
        'encoding': [image(encoding='yuv444'), image(encoding='rgb16')],
        'short': [image(height=4000), image(**huge)],
        'size': [image(height=0, width=0), image(width=0), image(size_hw=(3, 3), encoding='nv12')],
        'step': [image(step=5)],
        'stamp': [image(nanosec=2**32 - 1)],
    }
    total = 0
    for messages in bad.values():
        for msg in messages:
            camera.publish(msg)
            total += 1
            peer.until(
                lambda n=total: peer.counters('camera').get('bad') == n, f'{total} bad', node
            )
    before = len(features)
    camera.publish(image(sec=77))
    peer.until(lambda: len(features) > before, 'features of the next good image', node)

    assert stamp(features[-1]) == (77, 0)
    status = peer.status('theia: camera camera')
    assert status.level == status.WARN
    for reason, messages in bad.items():
        assert f'{reason} {len(messages)}' in status.message
    warnings = [line for line in node.said.splitlines() if 'WARN' in line]
    assert len(warnings) == len(bad), warnings
    assert all('camera camera: ' in line and '/diagnostics' in line for line in warnings)
    assert "encoding 'yuv444' is not supported" in node.said
    assert 'Traceback' not in node.said


def test_broken_jpegs_are_counted(peer, start):
    node = start({**SURE, 'image_topics': ['/camera/image_raw/compressed']})
    features = peer.collect(FeatureTensor, FEATURES)
    camera = peer.publisher(CompressedImage, '/camera/image_raw/compressed', node)
    whole = encoded(np.full((48, 64, 3), 102, np.uint8), 'JPEG')
    send_until(peer, camera, jpeg(whole), lambda: features, 'features', node)

    for i, data in enumerate((b'', b'no picture', whole[: len(whole) // 2])):
        camera.publish(jpeg(data))
        peer.until(lambda n=i: peer.counters('camera').get('bad') == n + 1, f'{i} bad', node)
    before = len(features)
    camera.publish(jpeg(whole, sec=9))
    peer.until(lambda: len(features) > before, 'features of the next good image', node)

    assert stamp(features[-1]) == (9, 0)
    assert 'format 2, decode 1' in peer.status('theia: camera camera').message


def test_silent_topic_is_told_with_its_publishers(peer, start):
    params = {**TWO, 'image_topics': ['/nobody', '/wrong_type'], 'no_image_warning_s': 1.0}
    peer.publisher(CompressedImage, '/wrong_type', qos=SENSOR)
    node = start(params)

    # A warning may come before the peer is discovered, and is repeated after ten seconds.
    node.wait_for('published by peer (sensor_msgs/msg/CompressedImage, BEST_EFFORT)')

    line = next(line for line in node.said.splitlines() if 'published by peer' in line)
    assert 'WARN' in line
    assert 'camera front: no image on /nobody for ' in line
    assert 'nobody publishes there; ros2 topic list' in line
    assert 'camera wrist: no image on /wrong_type for ' in line
    peer.until(
        lambda: (s := peer.status('theia: camera front')) and s.level == s.WARN, 'a warning', node
    )
    assert 'no image on /nobody for' in peer.status('theia: camera front').message


def test_failing_engine_loses_batches_and_says_so(peer, start):
    node = start(SURE, command=SLOW, environment={'FAIL_EVERY': '3'})
    features = peer.collect(FeatureTensor, FEATURES)
    camera = peer.publisher(Image, CAMERA_TOPIC, node)

    send_until(peer, camera, image(), lambda: len(features) > 8, 'features', node)
    peer.forget_diagnostics()
    peer.until(lambda: peer.counters('camera').get('failed'), 'failures', node)

    status = peer.status('theia: engine')
    assert status.level in (status.WARN, status.ERROR)
    assert 'failed' in status.message
    assert balanced(peer.counters('camera'))
    assert 'the fake device is out of memory' in node.said
    assert 'Traceback' not in node.said


# --- lifecycle -----------------------------------------------------------------------------------


def test_lifecycle_three_times_round(peer, start):
    node = start(FAKE)
    own = {FEATURES, '/theia/camera/dinov2/image', '/theia/info'}
    assert peer.state(node) == 'unconfigured'
    assert not own & peer.topics_below('/theia/')
    infos = peer.collect(EncoderInfo, '/theia/info', LATCHED)
    features = peer.collect(FeatureTensor, FEATURES)
    camera = peer.publisher(Image, CAMERA_TOPIC)
    threads = []

    for round_ in (1, 2, 3):
        assert peer.transition('configure', node)
        assert peer.state(node) == 'inactive'
        assert peer.node.count_subscribers(CAMERA_TOPIC) == 0
        peer.wait_for_publisher(FEATURES, node)
        assert peer.transition('activate', node)
        assert peer.state(node) == 'active'
        peer.until(lambda n=round_: len(infos) == n, 'provenance', node)
        before = len(features)
        send_until(
            peer, camera, image(sec=round_), lambda n=before: len(features) > n, 'features', node
        )
        assert stamp(features[-1]) == (round_, 0)
        assert peer.transition('deactivate', node)
        assert peer.state(node) == 'inactive'
        peer.until(lambda: peer.node.count_subscribers(CAMERA_TOPIC) == 0, 'no subscriber', node)
        after = len(features)
        camera.publish(image())
        peer.spin(0.2)
        assert len(features) == after
        assert peer.transition('cleanup', node)
        assert peer.state(node) == 'unconfigured'
        peer.until(
            lambda: not any(peer.node.count_publishers(topic) for topic in own), 'nothing', node
        )
        threads.append(node.threads())

    assert threads[2] <= threads[0]
    assert node.stop() == 0
    assert 'ERROR' not in node.said


def test_counters_add_up_after_a_pause(peer, start):
    node = start(SURE, command=SLOW, environment={'SLOW_INFER_S': '0.1'})
    features = peer.collect(FeatureTensor, FEATURES)
    camera = peer.publisher(Image, CAMERA_TOPIC, node)

    def overload():
        before = len(features)
        for _ in range(20):
            camera.publish(image())
            peer.spin(0.01)
        peer.until(lambda: len(features) > before, 'features', node)

    overload()
    assert peer.transition('deactivate', node)
    assert peer.transition('activate', node)
    peer.until(camera.get_subscription_count, 'a subscriber', node)
    overload()
    peer.spin(0.5)
    peer.forget_diagnostics()
    peer.until(lambda: peer.counters('camera').get('dropped'), 'counters', node)

    assert balanced(peer.counters('camera')), peer.counters('camera')


def test_failed_configure_can_be_corrected(peer, start):
    node = start({**FAKE, 'model': '/no/such/folder'})

    assert not peer.transition('configure', node)
    assert peer.state(node) == 'unconfigured'
    errors = [line for line in node.said.splitlines() if 'ERROR' in line]
    assert len(errors) == 1
    assert "on_configure: unknown model '/no/such/folder'" in errors[0]
    assert 'Traceback' not in node.said

    assert peer.set_parameter('model', FAKE['model'], node) == (True, '')
    assert peer.transition('configure', node)
    assert peer.transition('activate', node)
    assert peer.state(node) == 'active'


@pytest.mark.parametrize(
    'topic',
    [
        pytest.param('/front camera/image', id='space'),
        pytest.param('/front//image', id='two-slashes', marks=pytest.mark.slow),
        pytest.param('1front', id='digit-first'),
    ],
)
def test_impossible_topic_is_a_mistake_not_a_crash(peer, start, topic):
    node = start(FAKE)
    assert peer.set_parameter('image_topics', [topic], node) == (True, '')

    assert not peer.transition('configure', node)

    assert peer.state(node) == 'unconfigured'
    assert 'Traceback' not in node.said
    (error,) = [line for line in node.said.splitlines() if 'ERROR' in line]
    assert f"'{topic}'" in error
    assert peer.set_parameter('image_topics', ['/front/image'], node) == (True, '')
    assert peer.transition('configure', node)


def test_shutdown_from_active(peer, start):
    node = start()
    node.wait_for('active:')

    assert peer.transition('active_shutdown', node)

    assert peer.state(node) == 'finalized'
    peer.until(lambda: not peer.node.count_publishers(FEATURES), 'no publisher', node)
    assert node.stop() == 0


# --- parameters ----------------------------------------------------------------------------------


def test_parameters_of_a_running_node(peer, start):
    node = start()
    node.wait_for('active:')

    assert peer.set_parameter('no_image_warning_s', 60.0, node) == (True, '')
    for name, value, reason in (
        ('no_image_warning_s', -1.0, 'no_image_warning_s'),
        ('no_image_warning_s', 'often', 'parameter type'),
        (
            'backend',
            'torch',
            'backend changes only while the node is unconfigured; clean up first',
        ),
        ('cameras', ['front'], 'cameras changes only while the node is unconfigured'),
        ('no_such_parameter', 1, 'undeclared parameter'),
    ):
        taken, text = peer.set_parameter(name, value, node)
        assert not taken, name
        assert reason in text

    for name in ('deactivate', 'cleanup'):
        assert peer.transition(name, node)
    assert peer.set_parameter('feature_dtype', 'float16', node) == (True, '')
    for name in ('configure', 'activate'):
        assert peer.transition(name, node)
    infos = peer.collect(EncoderInfo, '/theia/info', LATCHED)
    peer.until(lambda: infos, 'provenance', node)
    assert infos[-1].tensors[0].dtype == FeatureTensor.FLOAT16


def test_live_parameter_has_its_effect(peer, start):
    node = start({**STARTED, 'no_image_warning_s': 0.0})
    peer.until(lambda: peer.status('theia: camera camera'), 'diagnostics', node)
    peer.spin(1.5)
    assert 'no image' not in node.said
    status = peer.status('theia: camera camera')
    assert status.level == status.OK

    assert peer.set_parameter('no_image_warning_s', 0.5, node) == (True, '')

    node.wait_for('no image on /camera/image_raw')


# Each way to go wrong once; test_ros_params.py and test_params.py have the other mistakes.
MISTAKES = [
    pytest.param({'modell': 'x'}, [], "unknown parameter 'modell'; known: model,", id='unknown'),
    pytest.param({'model': 5}, [], 'model', id='wrong-type'),
    pytest.param({'image_depth': 0}, [], 'image_depth', id='out-of-range'),
    pytest.param({}, ['--params-file', 'no_such_file.yaml'], 'no_such_file.yaml', id='no-file'),
    pytest.param({}, ['--params-file', '{folder}/bad.yaml'], 'bad.yaml', id='malformed-yaml'),
    pytest.param({}, ['--params-file', '{folder}/int.yaml'], 'no_image_warning_s', id='integer'),
    pytest.param(
        {}, ['--params-file', '{folder}/empty.yaml'], 'cameras is empty', id='empty-list'
    ),
    pytest.param({}, ['--bogus'], '--bogus', id='unknown-argument'),
    pytest.param(
        {'backend': 'gpu'},
        [],
        "backend is 'gpu'; use one of auto,",
        id='no-choice',
        marks=pytest.mark.slow,
    ),
    pytest.param(
        {'cameras': ['a', 'b']},
        [],
        'cameras names 2 and image_topics 1; give one topic for each camera',
        id='lists-do-not-fit',
    ),
    pytest.param(
        {'model': 'theia-huge'},
        [],
        "unknown model 'theia-huge'",
        id='unknown-model',
        marks=pytest.mark.slow,
    ),
    pytest.param(
        {'backend': 'torch'},
        [],
        'is not on this machine yet; run: theia-ros fetch theia-tiny-patch16-224-cddsv',
        id='model-not-fetched',
    ),
]


@pytest.fixture
def files(tmp_path):
    head = '/**:\n  ros__parameters:\n'
    (tmp_path / 'bad.yaml').write_text(f'{head}    model: [1, 2\n  : -')
    (tmp_path / 'int.yaml').write_text(f'{head}    no_image_warning_s: five\n')
    (tmp_path / 'empty.yaml').write_text(f'{head}    cameras: []\n    image_topics: []\n')
    return tmp_path


@pytest.mark.parametrize(('changes', 'ros_args', 'text'), MISTAKES)
def test_mistake_is_one_line_and_status_2(start, files, changes, ros_args, text):
    ros_args = [part.format(folder=files) for part in ros_args]

    node = start({**STARTED, **changes}, *ros_args)

    assert node.wait() == 2
    # rcl itself adds a line about a parameter file that it cannot read.
    lines = [line for line in node.said.strip().splitlines() if '[rcl]' not in line]
    assert text in node.said
    assert 'Traceback' not in node.said
    if 'autostart failed' in lines[-1]:
        assert len(lines) == 2, node.said
        assert 'ERROR' in lines[0]
        assert text in lines[0]
    else:
        assert len(lines) == 1, node.said
        assert lines[0].startswith('encoder_node.py: ')


# --- the end -------------------------------------------------------------------------------------

SIGNALS = [
    pytest.param(signal.SIGINT, id='SIGINT'),
    pytest.param(signal.SIGTERM, id='SIGTERM'),
]


def ends_well(node, number, meanwhile=time.sleep):
    """Send a signal; tell whether the node ended cleanly in the promised time."""
    started = time.monotonic()
    node.process.send_signal(number)
    while node.process.poll() is None and time.monotonic() - started < GENEROUS_S:
        meanwhile(0.02)
    passed_s = time.monotonic() - started
    assert node.wait() == 0, node.said
    assert 'Traceback' not in node.said
    assert 'ERROR' not in node.said
    # A process that has to share its processor gets its time later.
    share = max(1.0, os.getloadavg()[0] / os.cpu_count())
    return passed_s < STOP_S * share


def in_time(*attempts):
    """Tell whether any attempt is in time: others may keep the computer busy for a while."""
    return any(attempt() for attempt in attempts)


@pytest.mark.parametrize('number', SIGNALS)
def test_signal_ends_an_idle_node(start, number):
    def attempt():
        node = start()
        node.wait_for('active:')
        return ends_well(node, number)

    assert in_time(*ATTEMPTS * [attempt])


@pytest.mark.parametrize('number', SIGNALS)
def test_signal_ends_an_unconfigured_node(domain, start, number):
    def attempt():
        node = start(FAKE)
        with Peer(domain) as peer:
            assert peer.state(node) == 'unconfigured'
        return ends_well(node, number)

    assert in_time(*ATTEMPTS * [attempt])


@pytest.mark.parametrize('number', SIGNALS)
def test_signal_ends_a_busy_node(peer, start, number):
    features = peer.collect(FeatureTensor, FEATURES)
    peer.collect(Image, '/theia/camera/dinov2/image')
    camera = peer.publisher(Image, CAMERA_TOPIC)
    peer.node.create_timer(0.01, lambda: camera.publish(image(size_hw=(480, 640))))

    def attempt():
        features.clear()
        node = start(SURE, command=SLOW, environment={'SLOW_INFER_S': '0.05'})
        peer.until(lambda: len(features) > 10, 'features', node)
        return ends_well(node, number, peer.spin)

    assert in_time(*ATTEMPTS * [attempt])


@pytest.mark.parametrize('number', SIGNALS)
def test_signal_ends_a_node_that_configures(start, number):
    def attempt():
        node = start(STARTED, command=SLOW, environment={'SLOW_OPEN_S': '60'})
        node.wait_for('the engine opens')
        return ends_well(node, number)

    assert in_time(*ATTEMPTS * [attempt])


@pytest.mark.parametrize('number', SIGNALS)
def test_signals_that_come_twice(start, number):
    node = start()
    node.wait_for('active:')

    os.kill(node.process.pid, number)
    os.kill(node.process.pid, signal.SIGINT)

    assert node.wait() == 0
    assert 'Traceback' not in node.said


def test_name_and_namespace_move_the_topics(peer, start):
    node = start(SURE, '-r', '__ns:=/robot1', '-r', '__node:=eyes')
    features = peer.collect(FeatureTensor, '/robot1/eyes/camera/features')
    camera = peer.publisher(Image, CAMERA_TOPIC, node)

    send_until(peer, camera, image(), lambda: features, 'features', node)

    assert features[0].header == Header(stamp=image().header.stamp, frame_id='optical')
    peer.until(lambda: peer.status('eyes: engine'), 'diagnostics', node)
