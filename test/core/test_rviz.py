from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.rviz_config import topics_of

from theia_ros import rviz

ROOT = Path(__file__).parents[2]
IMAGE, CLOUD = 'rviz_default_plugins/Image', 'rviz_default_plugins/PointCloud2'
TWO = {'front': '/front/image_raw', 'wrist': '/wrist/image_raw/compressed'}


@pytest.fixture
def template() -> dict[str, Any]:
    return yaml.safe_load((ROOT / 'config' / 'theia.rviz').read_text())


def docks_of(state: str) -> list[str]:
    """Return the names in a window's state, in order, as Qt reads them."""
    data = bytes.fromhex(state)
    names, at = [], 0
    while (at := data.find(b'\xfb', at)) >= 0:
        (length,) = struct.unpack_from('>i', data, at + 1)
        names.append(data[at + 5 : at + 5 + length].decode('utf-16-be'))
        at += 5 + length
    return names


def test_file_is_for_the_defaults_of_the_node(template) -> None:
    assert rviz.config_for(template, '/theia', {'camera': '/camera/image_raw'}) == template


def test_every_camera_gets_its_displays(template) -> None:
    config = rviz.config_for(template, '/robot1/eyes', TWO)

    assert topics_of(config) == [
        (IMAGE, '/front/image_raw'),
        (IMAGE, '/robot1/eyes/front/dinov2/image'),
        (IMAGE, '/robot1/eyes/front/depth/image_color'),
        (IMAGE, '/robot1/eyes/front/segmentation/image'),
        (CLOUD, '/robot1/eyes_cloud/front/points'),
        (IMAGE, '/wrist/image_raw/compressed'),
        (IMAGE, '/robot1/eyes/wrist/dinov2/image'),
        (IMAGE, '/robot1/eyes/wrist/depth/image_color'),
        (IMAGE, '/robot1/eyes/wrist/segmentation/image'),
        (CLOUD, '/robot1/eyes_cloud/wrist/points'),
    ]
    assert [group['Name'] for group in config['Visualization Manager']['Displays']] == list(TWO)


def test_pictures_have_names_of_their_own_and_a_place_in_the_window(template) -> None:
    config = rviz.config_for(template, '/theia', TWO)

    maps = ('picture', 'PCA', 'depth', 'segmentation')
    names = [f'{camera} {kind}' for camera in TWO for kind in maps]
    assert docks_of(config['Window Geometry']['QMainWindow State']) == ['Displays', *names]


def test_template_is_not_changed(template) -> None:
    before = yaml.safe_dump(template)
    rviz.config_for(template, '/theia', TWO, 'demo-dinov2-small')
    assert yaml.safe_dump(template) == before


@pytest.mark.parametrize(
    ('model', 'kinds'),
    [
        ('demo-dinov2-small', ['picture', 'PCA']),
        ('theia-tiny-patch16-224-cdiv', ['picture', 'PCA']),
        (
            'theia-tiny-patch16-224-cddsv',
            ['picture', 'PCA', 'depth', 'segmentation', 'cloud'],
        ),
        ('demo-tiny', ['picture', 'PCA', 'depth', 'segmentation', 'cloud']),
        ('/home/me/my_theia', ['picture', 'PCA', 'depth', 'segmentation', 'cloud']),
    ],
)
def test_what_a_model_has_no_head_for_is_left_out(template, model, kinds) -> None:
    config = rviz.config_for(template, '/theia', {'a': '/a/image'}, model)

    (group,) = config['Visualization Manager']['Displays']
    assert [display['Name'] for display in group['Displays']] == [f'a {kind}' for kind in kinds]


def test_names_of_the_users_are_left_alone(template) -> None:
    # A camera that is called like a part of a name, and a topic that looks like one of ours.
    config = rviz.config_for(template, '/theia', {'camera2': '/theia/camera/image'})

    topics = [topic for _, topic in topics_of(config)]
    assert topics[:2] == ['/theia/camera/image', '/theia/camera2/dinov2/image']


@pytest.mark.parametrize(
    ('sections', 'cameras'),
    [
        pytest.param({}, ['camera'], id='nothing'),
        pytest.param({'/**': ['a']}, ['a'], id='everybody'),
        pytest.param({'theia': ['a']}, ['camera'], id='name-without-namespace'),
        pytest.param({'/robot/theia': ['a']}, ['a'], id='full-name'),
        pytest.param({'robot/theia': ['a']}, ['a'], id='full-name-without-slash'),
        pytest.param({'/*/theia': ['a']}, ['a'], id='any-namespace'),
        pytest.param({'/**/theia': ['a']}, ['a'], id='any-namespaces'),
        pytest.param({'/*': ['a']}, ['camera'], id='one-level'),
        pytest.param({'/other': ['a'], '/robot/theia2': ['b']}, ['camera'], id='others'),
        pytest.param({'/**': ['a'], '/robot/theia': ['b']}, ['b'], id='last-counts'),
    ],
)
def test_cameras_are_those_of_the_parameter_file(sections, cameras) -> None:
    params = {key: {'ros__parameters': {'cameras': names}} for key, names in sections.items()}

    given = rviz.parameters_of(params, '/robot/theia')
    assert list(rviz.cameras_of(given, '/robot/theia')) == cameras


def test_sections_without_parameters_are_passed_over() -> None:
    assert rviz.parameters_of({'/**': None, 'theia': {}, 'x': 3}, '/theia') == {}


def test_topics_are_completed_as_ros_does() -> None:
    given = {'cameras': ['a', 'b', 'c'], 'image_topics': ['/a', 'b/image', '~/c']}

    assert rviz.cameras_of(given, '/robot/theia') == {
        'a': '/a',
        'b': '/robot/b/image',
        'c': '/robot/theia/c',
    }


def test_written_configuration_follows_what_is_typed(tmp_path) -> None:
    params = tmp_path / 'params.yaml'
    params.write_text(
        '/**:\n  ros__parameters: {cameras: [x], image_topics: [/x], model: demo-dinov2-small}\n'
    )
    typed = {'cameras': '[on, "2"]', 'image_topics': '[/on, /2]', 'model': ''}

    path = Path(rviz.write_config(str(ROOT), '/theia', str(params), typed))

    try:
        config = yaml.safe_load(path.read_text())
    finally:
        path.unlink()
    assert topics_of(config) == [
        (IMAGE, '/on'),
        (IMAGE, '/theia/on/dinov2/image'),
        (IMAGE, '/2'),
        (IMAGE, '/theia/2/dinov2/image'),
    ]
