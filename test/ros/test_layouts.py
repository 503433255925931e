"""rviz and Foxglove ask for what the nodes really offer, under the same names and types."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from helpers import synthetic
from helpers.rviz_config import displays_of
from sensor_msgs.msg import Image

from theia_ros import rviz
from theia_ros.view.panes import panes_of
from theia_ros.view.panes import TITLES
from theia_ros.view.panes import TWINS

pytestmark = pytest.mark.needs_ros

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'config'
DISPLAYS = {
    'rviz_default_plugins/Image': ['sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'],
    'rviz_default_plugins/PointCloud2': ['sensor_msgs/msg/PointCloud2'],
}
PANELS = {
    'Image': ['sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'],
    'DiagnosticSummary': ['diagnostic_msgs/msg/DiagnosticArray'],
    'Plot': ['theia_msgs/msg/Latency'],
    'RawMessages': ['theia_msgs/msg/EncoderInfo'],
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A model with every head and part, so that the node offers every output there is."""
    folder = synthetic.write_model(tmp_path_factory.mktemp('whole'))
    synthetic.write_statistics(folder)
    synthetic.write_decoder_parts(folder)
    return folder


@pytest.fixture(scope='module')
def offers():
    """What nodes of this module offered, by name."""
    return {}


@pytest.fixture
def offered(request, offers, folder):
    """Return topics and types of a node with a camera and the cloud of its depth."""

    def offered(node='/theia', cameras=None):
        if node not in offers:
            peer, start = map(request.getfixturevalue, ('peer', 'start'))
            offers[node] = ask(peer, start, node, cameras or {'camera': '/camera/image_raw'})
        return offers[node]

    def ask(peer, start, node, cameras):
        namespace, _, name = node.rpartition('/')
        encoder = start(
            {
                'model': folder,
                'backend': 'fake',
                'autostart': True,
                'cameras': list(cameras),
                'image_topics': list(cameras.values()),
            },
            *('-r', f'__node:={name}', '-r', f'__ns:={namespace or "/"}'),
        )
        cloud = start(
            {'encoder': node},
            *('-r', f'__node:={name}_cloud', '-r', f'__ns:={namespace or "/"}'),
            command=('-m', 'theia_ros.nodes.depth_cloud'),
        )
        for camera, topic in cameras.items():
            peer.publisher(Image, topic)
            peer.wait_for_publisher(f'{node}_cloud/{camera}/points', cloud)
        peer.wait_for_publisher('/diagnostics', encoder)
        return {
            topic: types
            for topic, types in peer.node.get_topic_names_and_types()
            if peer.node.count_publishers(topic)
        }

    return offered


def foxglove_topics(layout) -> Iterator[tuple[str, str]]:
    """Give the panel's type and each topic that it asks for."""
    for name, panel in layout['configById'].items():
        kind = name.partition('!')[0]
        asked = [
            panel.get('imageMode', {}).get('imageTopic'),
            panel.get('topicToRender'),
            panel.get('topicPath'),
            *(path['value'].partition('.')[0] for path in panel.get('paths', ())),
        ]
        for topic in filter(None, asked):
            yield kind, topic


def panels_of(layout) -> Iterator[str]:
    """Give the panels that stand somewhere in the window."""
    if isinstance(layout, str):
        yield layout
    else:
        yield from panels_of(layout['first'])
        yield from panels_of(layout['second'])


def test_rviz_asks_for_what_there_is(offered):
    config = yaml.safe_load((CONFIG / 'theia.rviz').read_text())

    there, displays = offered(), list(displays_of(config))
    assert len(displays) == 5
    for display in displays:
        topic = display['Topic']['Value']
        assert set(there[topic]) <= set(DISPLAYS[display['Class']]), topic
        # The camera decides for itself; best effort matches every camera.
        best_effort = display['Topic']['Reliability Policy'] == 'Best Effort'
        assert best_effort == (topic == '/camera/image_raw')


def test_rviz_asks_for_what_there_is_of_several_cameras(offered):
    cameras = {'front': '/front/image_raw', 'wrist': '/wrist/image_raw'}
    template = yaml.safe_load((CONFIG / 'theia.rviz').read_text())
    config = rviz.config_for(template, '/robot1/eyes', cameras)

    there, displays = offered('/robot1/eyes', cameras), list(displays_of(config))
    assert len(displays) == 10
    for display in displays:
        topic = display['Topic']['Value']
        assert set(there[topic]) <= set(DISPLAYS[display['Class']]), topic


def test_foxglove_asks_for_what_there_is(offered):
    layout = json.loads((CONFIG / 'theia.foxglove.json').read_text())

    there, asked = offered(), list(foxglove_topics(layout))
    assert len(asked) == 9
    for kind, topic in asked:
        assert set(there[topic]) <= set(PANELS[kind]), topic
    assert sorted(panels_of(layout['layout'])) == sorted(layout['configById'])


def test_foxglove_plots_fields_that_there_are():
    """A path is a topic, then fields and filters of the message."""
    from theia_msgs.msg import Latency
    from theia_msgs.msg import StepLatency

    layout = json.loads((CONFIG / 'theia.foxglove.json').read_text())
    steps = (ROOT / 'msg' / 'StepLatency.msg').read_text()
    paths = [path['value'] for path in layout['configById']['Plot!latency']['paths']]
    for path in paths:
        topic, array, field, step, figure = re.fullmatch(
            r'(/[\w/]+)\.(\w+)\[:\]\{(\w+)=="(\w+)"\}\.(\w+)', path
        ).groups()
        assert topic == '/theia/latency'
        assert array in Latency.get_fields_and_field_types()
        assert {field, figure} <= set(StepLatency.get_fields_and_field_types())
        assert step in steps


def test_view_shows_every_picture_that_there_is(offered):
    below = '/theia/camera/'
    there = offered()

    pictures = {
        topic.removeprefix(below)
        for topic, types in there.items()
        if topic.startswith(below) and 'sensor_msgs/msg/Image' in types
    }
    panes = panes_of('/theia', 'camera', '/camera/image_raw', there)
    shown = {pane.topic.removeprefix(below) for pane in panes[1:]}
    assert shown == set(TITLES)
    assert shown - {'features'} | TWINS == pictures
    for pane in panes:
        assert pane.type in there[pane.topic]
