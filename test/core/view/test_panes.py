from __future__ import annotations

from theia_ros.view.panes import COMPRESSED
from theia_ros.view.panes import FEATURES
from theia_ros.view.panes import IMAGE
from theia_ros.view.panes import Pane
from theia_ros.view.panes import panes_of

INFO = 'sensor_msgs/msg/CameraInfo'


def test_everything_that_a_camera_has_is_shown_in_order_and_once() -> None:
    topics = {
        '/theia/front/segmentation/image': [IMAGE],
        '/theia/front/segmentation/labels': [IMAGE],
        '/theia/front/depth/image': [IMAGE],
        '/theia/front/depth/image_color': [IMAGE],
        '/theia/front/dinov2/image': [IMAGE],
        '/theia/front/features': [FEATURES],
        '/theia/front/clip/features': [FEATURES],
        '/theia/front/camera_info': [INFO],
        '/theia/front2/dinov2/image': [IMAGE],
        '/other/front/dinov2/image': [IMAGE],
        '/front/image_raw': [IMAGE],
    }

    assert panes_of('/theia', 'front', '/front/image_raw', topics) == [
        Pane('/front/image_raw', IMAGE, 'Camera'),
        Pane('/theia/front/dinov2/image', IMAGE, 'PCA'),
        Pane('/theia/front/depth/image_color', IMAGE, 'Depth'),
        Pane('/theia/front/segmentation/image', IMAGE, 'Segmentation'),
        Pane('/theia/front/features', FEATURES, 'Feature norm'),
    ]


def test_a_map_that_is_not_known_is_called_after_its_topic() -> None:
    topics = {'/n/theia/c/normals/image': [IMAGE], '/n/theia/c/dinov2/image': [IMAGE]}

    assert panes_of('/n/theia', 'c', '/c/image', topics)[1:] == [
        Pane('/n/theia/c/dinov2/image', IMAGE, 'PCA'),
        Pane('/n/theia/c/normals/image', IMAGE, 'normals/image'),
    ]


def test_a_camera_without_outputs_has_its_picture() -> None:
    assert panes_of('/theia', 'c', '/c/image_raw/compressed', {}) == [
        Pane('/c/image_raw/compressed', COMPRESSED, 'Camera')
    ]


def test_another_type_under_a_known_name_is_left_alone() -> None:
    topics = {'/theia/c/features': [IMAGE + 'X'], '/theia/c/dinov2/image': [INFO]}

    assert [pane.title for pane in panes_of('/theia', 'c', '/c/image', topics)] == ['Camera']
