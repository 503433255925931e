"""What is said about quality of service, word for word where a user acts on it."""

from __future__ import annotations

import types

import pytest
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSPolicyKind
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy

from theia_ros.nodes import qos

pytestmark = pytest.mark.needs_ros

IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
RMW = 'rmw_fastrtps_cpp'
PROFILE = {'FASTDDS_DEFAULT_PROFILES_FILE': 'fastdds.xml'}


def publisher(node='driver', topic_type=IMAGE, reliability='RELIABLE'):
    profile = QoSProfile(depth=1, reliability=ReliabilityPolicy[reliability])
    return types.SimpleNamespace(node_name=node, topic_type=topic_type, qos_profile=profile)


@pytest.mark.parametrize(
    ('publishers', 'asked', 'rmw', 'environ', 'text'),
    [
        pytest.param(
            [],
            'best_effort',
            RMW,
            PROFILE,
            'nobody publishes there; ros2 topic list shows the right name',
            id='nobody',
        ),
        pytest.param(
            [publisher(topic_type=COMPRESSED)],
            'best_effort',
            RMW,
            PROFILE,
            f'published by driver ({COMPRESSED}, RELIABLE), but the node expects {IMAGE}; a topic '
            'that ends in /compressed carries CompressedImage, any other Image',
            id='another-type',
        ),
        pytest.param(
            [publisher(reliability='BEST_EFFORT')],
            'reliable',
            RMW,
            PROFILE,
            f'published by driver ({IMAGE}, BEST_EFFORT); set image_reliability to best_effort',
            id='not-reliable-enough',
        ),
        pytest.param(
            [publisher()],
            'best_effort',
            RMW,
            {},
            f'published by driver ({IMAGE}, RELIABLE); Fast DDS loses large images on its default '
            'transport, see "Transport" in docs/node.md; the publisher needs another one, too',
            id='default-transport',
        ),
        pytest.param(
            [publisher(), publisher('other', reliability='BEST_EFFORT')],
            'best_effort',
            RMW,
            PROFILE,
            f'published by driver ({IMAGE}, RELIABLE), other ({IMAGE}, BEST_EFFORT), but none '
            'arrives; does the publisher have the same transport settings?',
            id='transport-of-the-publisher',
        ),
        pytest.param(
            [publisher()],
            'best_effort',
            'rmw_cyclonedds_cpp',
            {},
            f'published by driver ({IMAGE}, RELIABLE), but none arrives; does the publisher have '
            'the same transport settings?',
            id='another-middleware',
        ),
    ],
)
def test_why_no_image_comes(publishers, asked, rmw, environ, text):
    assert qos.why_silent(IMAGE, asked, publishers, rmw, environ) == text


def test_mismatch_names_topic_policy_and_cure():
    sentence = qos.mismatch('/front', 'publisher', 'do this')
    event = types.SimpleNamespace(last_policy_kind=QoSPolicyKind.DURABILITY)
    assert sentence(event) == (
        '/front: a publisher has a DURABILITY that does not match, and is not served; do this'
    )


def test_profiles():
    stream = qos.stream('best_effort', 7)
    assert (stream.reliability, stream.depth) == (ReliabilityPolicy.BEST_EFFORT, 7)
    assert stream.durability == DurabilityPolicy.VOLATILE
    assert qos.stream('reliable', 1).reliability == ReliabilityPolicy.RELIABLE
    assert qos.INFO.durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert qos.INFO.reliability == ReliabilityPolicy.RELIABLE
