"""The cloud of depth: real nodes, and a peer that knows what an inverse depth means."""

from __future__ import annotations

import array

import numpy as np
import pytest
from helpers.ros_peer import image
from helpers.ros_peer import LATCHED
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import Image
from sensor_msgs.msg import PointCloud2
from sensor_msgs.msg import PointField
from theia_msgs.msg import EncoderInfo

pytestmark = pytest.mark.needs_ros

DEPTH, INFO = '/theia/front/depth/image', '/theia/front/camera_info'
POINTS = '/theia_cloud/front/points'
CLOUD = ('-m', 'theia_ros.nodes.depth_cloud')


@pytest.fixture
def cloud(peer, start):
    """Start the node beside an encoder that the peer plays."""

    def cloud(**parameters):
        node = start(parameters, command=CLOUD)
        told = peer.node.create_publisher(EncoderInfo, '/theia/info', LATCHED)
        told.publish(EncoderInfo(cameras=['front'], image_topics=['/front/image_raw']))
        peer.wait_for_publisher(POINTS, node)
        return node

    return cloud


def depth_map(values, **header):
    values = np.asarray(values, '<f4')
    height, width = values.shape
    return image(
        size_hw=(height, width),
        encoding='32FC1',
        step=4 * width,
        data=array.array('B', values.tobytes()),
        **header,
    )


def calibration(width, height, focal=2.0):
    k = [focal, 0.0, (width - 1) / 2, 0.0, focal, (height - 1) / 2, 0.0, 0.0, 1.0]
    return CameraInfo(width=width, height=height, k=k)


def points_in(msg):
    assert [field.name for field in msg.fields] == ['x', 'y', 'z', 'intensity']
    assert [field.offset for field in msg.fields] == [0, 4, 8, 12]
    assert {field.datatype for field in msg.fields} == {PointField.FLOAT32}
    assert (msg.point_step, msg.row_step) == (16, 16 * msg.width)
    return np.frombuffer(msg.data, '<f4').reshape(msg.height, msg.width, 4)


def test_cloud_has_the_shape_that_two_distances_settle(peer, cloud):
    node = cloud(near_m=0.5, far_m=2.0)
    clouds = peer.collect(PointCloud2, POINTS)
    depth, info = peer.publisher(Image, DEPTH, node), peer.publisher(CameraInfo, INFO, node)
    sent = depth_map([[0, 0.5, 1], [1, 0, 0.5]], sec=7, nanosec=9, frame_id='lens')

    def come():
        info.publish(calibration(3, 2))
        depth.publish(sent)
        peer.spin(0.05)
        return clouds

    peer.until(come, 'a cloud', node)
    assert clouds[0].header == sent.header
    points = points_in(clouds[0])
    z = np.array([[2.0, 0.8, 0.5], [0.5, 2.0, 0.8]])
    np.testing.assert_allclose(points[..., 2], z, rtol=1e-6)
    np.testing.assert_allclose(points[..., 0], np.array([[-1, 0, 1]]) / 2 * z, atol=1e-6)
    np.testing.assert_allclose(points[..., 1], np.array([[-0.5], [0.5]]) / 2 * z, atol=1e-6)
    np.testing.assert_array_equal(points[..., 3], [[0, 0.5, 1], [1, 0, 0.5]])


def test_depth_is_asked_for_only_while_somebody_wants_the_cloud(peer, cloud):
    node = cloud()
    peer.spin(1.0)
    assert peer.node.count_subscribers(DEPTH) == 0

    wish = peer.node.create_subscription(PointCloud2, POINTS, lambda _: None, 1)
    peer.until(lambda: peer.node.count_subscribers(DEPTH), 'a subscriber of depth', node)
    peer.node.destroy_subscription(wish)
    peer.until(lambda: not peer.node.count_subscribers(DEPTH), 'no subscriber of depth', node)


def test_without_a_calibration_that_fits_there_is_no_cloud(peer, cloud):
    node = cloud()
    clouds = peer.collect(PointCloud2, POINTS)
    depth, info = peer.publisher(Image, DEPTH, node), peer.publisher(CameraInfo, INFO, node)

    for wrong in (None, calibration(6, 4), calibration(3, 2, focal=0.0)):
        for _ in range(5):
            if wrong:
                info.publish(wrong)
            depth.publish(depth_map(np.zeros((2, 3))))
            peer.spin(0.05)
    assert clouds == []


def test_distances_can_be_changed_to_sensible_ones_only(peer, cloud):
    node = cloud()

    assert peer.set_parameter('far_m', 0.1, node, '/theia_cloud') == (
        False,
        'near_m is 0.3, far_m 0.1, columns 160; use 0 < near_m < far_m, and columns above 0',
    )
    assert peer.set_parameter('far_m', 9.0, node, '/theia_cloud') == (True, '')


def test_senseless_distances_are_one_line(start):
    node = start({'near_m': 3.0, 'far_m': 1.0}, command=CLOUD)

    assert node.wait() == 2
    (line,) = node.stderr.strip().splitlines()
    assert 'near_m is 3.0, far_m 1.0' in line
