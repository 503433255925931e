"""The demo camera in a process of its own, and who listens to it."""

from __future__ import annotations

import math

import pytest
from helpers.ros_peer import Peer
from helpers.ros_peer import SENSOR
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import Image

pytestmark = pytest.mark.needs_ros

COMMAND = ('-m', 'theia_ros.demo.camera_node')
TOPIC = '/camera/image_raw'
SMALL = {'width_px': 64, 'height_px': 48}


def told(peer):
    """Return what the camera has told last: whether it plays, and how many images it sent."""
    status = peer.status('camera: pictures')
    return status and (status.message, {v.key: v.value for v in status.values})


def test_images_come_once_as_many_listen_as_are_expected(peer, start, domain):
    parameters = {**SMALL, 'listeners': 2, 'seconds': 0.4}
    camera = start(parameters, command=COMMAND)
    images = peer.collect(Image, TOPIC, SENSOR)
    peer.wait_for_publisher(TOPIC, camera)
    peer.until(lambda: told(peer), 'the first status', camera)
    peer.spin(1.0)  # some 25 images, if it did not wait
    assert images == []
    assert told(peer) == ('playing', {'sent': '0'})

    with Peer(domain, 'other') as other:
        also = other.collect(Image, TOPIC, SENSOR)
        other.until(lambda: also, 'an image', camera)
        peer.until(lambda: told(peer)[0] == 'finished', 'the end', camera)

    assert told(peer) == ('finished', {'sent': '10'})  # 0.4 s at 25 Hz
    assert {(m.encoding, m.height, m.width, m.step) for m in images} == {('rgb8', 48, 64, 192)}


def test_calibration_claims_the_angle_of_view(peer, start):
    camera = start({**SMALL, 'fov_deg': 60.0}, command=COMMAND)
    images = peer.collect(Image, TOPIC, SENSOR)
    infos = peer.collect(CameraInfo, '/camera/camera_info', SENSOR)
    peer.until(lambda: images and infos, 'an image and a calibration', camera)

    info = infos[0]
    assert (info.width, info.height) == (64, 48)
    assert info.k[0] == pytest.approx(32 / math.tan(math.radians(30)))
    assert (info.k[2], info.k[5]) == (31.5, 23.5)
    assert info.header.frame_id == images[0].header.frame_id == 'camera_optical_frame'


@pytest.mark.parametrize(
    ('parameters', 'text'),
    [
        pytest.param({'listeners': 0}, 'listeners is 0; use 1 or more', id='listeners'),
        pytest.param({'fov_deg': 180.0}, 'fov_deg is 180.0; use 0 to below 180', id='fov_deg'),
        pytest.param(
            {'rate_hz': 0.0}, 'rate_hz, width_px and height_px must be above 0', id='rate_hz'
        ),
    ],
)
def test_senseless_parameter_is_one_line(start, parameters, text):
    camera = start(parameters, command=COMMAND)

    assert camera.wait() == 2
    (line,) = camera.said.splitlines()
    assert line == f'camera_node.py: {text}'
