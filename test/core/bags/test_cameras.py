from __future__ import annotations

import pytest
from helpers import bags
from rosbags.interfaces import Connection
from rosbags.interfaces import ConnectionExtRosbag2
from rosbags.interfaces import MessageDefinition
from rosbags.interfaces import MessageDefinitionFormat

from theia_ros.bags.cameras import Camera
from theia_ros.bags.cameras import choose
from theia_ros.errors import ParameterError

NONE = MessageDefinition(MessageDefinitionFormat.NONE, '')


def connection(topic: str, kind: str = bags.IMAGE) -> Connection:
    return Connection(1, topic, kind, NONE, '', 1, ConnectionExtRosbag2('cdr', []), None)


def chosen(*topics: str, node_name: str = '/theia') -> dict[str, str]:
    kinds = [bags.COMPRESSED if 'compressed' in t else bags.IMAGE for t in topics]
    connections = [connection(t, k) for t, k in zip(topics, kinds, strict=True)]
    return {n: c.topic for n, c in choose(connections, None, None, node_name).items()}


@pytest.mark.parametrize(
    ('topics', 'names'),
    [
        (['/front/image_raw'], ['front']),
        (['/front/image_raw/compressed'], ['front']),
        (['/camera/color/image_raw', '/camera/infra1/image'], ['camera_color', 'camera_infra1']),
        (['/image_raw'], ['image_raw']),
        (['/wrist/compressed'], ['wrist']),
        (['/front/image_raw', '/front/image_rect'], ['front_image_raw', 'front_image_rect']),
        (['/a/b/image', '/a_b/image_raw'], ['a_b_image', 'a_b_image_raw']),
    ],
)
def test_names_are_made_of_topics(topics: list[str], names: list[str]) -> None:
    assert chosen(*topics) == dict(zip(names, topics, strict=True))


def test_compressed_pictures_that_are_there_as_raw_ones_are_left_out() -> None:
    assert chosen('/front/image_raw', '/front/image_raw/compressed', '/top/image/compressed') == {
        'front': '/front/image_raw',
        'top': '/top/image/compressed',
    }


def test_what_the_encoder_published_is_no_camera() -> None:
    maps = ('/theia/front/dinov2/image', '/theia/front/depth/image_color')
    assert chosen('/front/image_raw', *maps) == {'front': '/front/image_raw'}
    assert len(chosen('/front/image_raw', *maps, node_name='/other')) == 3


def test_compressed_depth_is_no_camera() -> None:
    found = chosen('/front/image_raw', '/depth/image_rect/compressedDepth')
    assert found == {'front': '/front/image_raw'}


def test_both_kinds_can_be_asked_for() -> None:
    topics = ['/front/image_raw', '/front/image_raw/compressed']
    connections = [connection(topics[0]), connection(topics[1], bags.COMPRESSED)]
    found = choose(connections, topics, None, '/theia')
    assert list(found) == ['front_image_raw', 'front_image_raw_compressed']
    assert [camera.kind for camera in found.values()] == [bags.IMAGE, bags.COMPRESSED]


def test_names_that_cannot_be_told_apart_are_asked_for() -> None:
    with pytest.raises(ParameterError, match='camera a_b_image is named twice; use --topics'):
        chosen('/a/b/image', '/a_b/image')


def test_nothing_to_choose_from() -> None:
    with pytest.raises(ParameterError, match='no topic has pictures; there is /imu, /scan'):
        choose([connection('/scan', 'x'), connection('/imu', 'y')], None, None, '/theia')


def test_the_first_picture_is_always_taken() -> None:
    camera = Camera('front', '/front', bags.IMAGE)
    taken = [camera.take(i * 100_000_000, 3, 0.0) for i in range(7)]
    assert taken == [True, False, False] * 2 + [True]
    assert (camera.pictures, camera.limited) == (7, 4)


def test_the_rate_is_a_mean_and_a_gap_is_not_made_up_for() -> None:
    camera = Camera('front', '/front', bags.IMAGE)
    times_ms = [0, 33, 67, 100, 133, 167, 200, 5000, 5010, 5020, 5101]
    taken = [t for t in times_ms if camera.take(t * 1_000_000, 1, 10.0)]
    assert taken == [0, 100, 200, 5000, 5101]
    assert camera.longest_gap_s == pytest.approx(4.8)
