"""The parameters of the package on a real node."""

from __future__ import annotations

from dataclasses import fields

import pytest
import rclpy
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.msg import ParameterValue
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions

from theia_ros.errors import ParameterError
from theia_ros.nodes import ros_params
from theia_ros.params import NodeParams

pytestmark = pytest.mark.needs_ros


@pytest.fixture
def make_node(domain):
    """Make nodes that are given these parameters, as from a file."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain, signal_handler_options=SignalHandlerOptions.NO)
    nodes = []

    def make(**overrides):
        given = [Parameter(name, value=value) for name, value in overrides.items()]
        node = rclpy.create_node('node', context=context, parameter_overrides=given)
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.destroy_node()
    rclpy.try_shutdown(context=context)


def test_defaults_come_back_as_they_are(make_node):
    node = make_node()

    ros_params.declare(node)

    assert ros_params.read(node) == NodeParams()


def test_given_values_come_back(make_node):
    node = make_node(cameras=['a', 'b'], image_topics=['a/image', 'b/compressed'], image_depth=7)

    ros_params.declare(node)
    params = ros_params.read(node)

    assert params.cameras == ('a', 'b')
    assert params.image_topics == ('a/image', 'b/compressed')
    assert params.image_depth == 7


def test_descriptors_tell_meaning_limits_and_choices(make_node):
    node = make_node()
    ros_params.declare(node)

    for f in fields(NodeParams):
        assert node.describe_parameter(f.name).description == f.metadata['doc']
    depth = node.describe_parameter('image_depth')
    assert depth.type == ParameterType.PARAMETER_INTEGER
    (limits,) = depth.integer_range
    assert (limits.from_value, limits.to_value) == (1, 100)
    (silence,) = node.describe_parameter('no_image_warning_s').floating_point_range
    assert (silence.from_value, silence.to_value) == (0.0, 3600.0)
    dtype = node.describe_parameter('feature_dtype').additional_constraints
    assert dtype == 'Changes only while the node is unconfigured. One of: float32, float16.'
    assert node.describe_parameter('no_image_warning_s').additional_constraints == ''


def test_unknown_parameter_is_refused(make_node):
    node = make_node(image_topic='/front/image_raw')

    with pytest.raises(ParameterError, match="unknown parameter 'image_topic'; known: model, "):
        ros_params.declare(node)


def test_parameters_of_ros_itself_are_not_unknown(make_node):
    node = make_node(use_sim_time=True, **{'qos_overrides./clock.subscription.depth': 3})

    ros_params.declare(node)

    assert node.get_parameter('use_sim_time').value is True


@pytest.mark.parametrize(
    ('given', 'text'),
    [
        pytest.param({'cameras': ['a', 'a'], 'image_topics': ['/a', '/b']}, 'twice', id='twice'),
        pytest.param({'cameras': ['front camera']}, "'front camera' cannot be", id='no-name'),
        pytest.param({'precision': 'int8'}, "precision is 'int8'; use one of", id='no-choice'),
        pytest.param({'image_topics': ['/a b']}, "image topic '/a b': Invalid topic", id='space'),
        pytest.param({'image_topics': ['']}, "image topic '': Invalid topic", id='empty-topic'),
        pytest.param({'image_topics': ['/a//b']}, "image topic '/a//b': ", id='two-slashes'),
        pytest.param(
            {'image_topics': ['{robot}/a']}, "image topic '{robot}/a': ", id='unknown-{}'
        ),
    ],
)
def test_values_that_make_no_sense_are_refused(make_node, given, text):
    node = make_node(**given)
    ros_params.declare(node)

    with pytest.raises(ParameterError) as info:
        ros_params.read(node)
    assert text in str(info.value)
    assert '\n' not in str(info.value)


def watched(node, in_use):
    """Watch a node; return where the parameters in use are kept."""
    kept = [in_use]
    ros_params.declare(node)
    ros_params.watch(node, lambda: kept[0], lambda params: kept.__setitem__(0, params))
    return kept


def set_one(node, name, value):
    (result,) = node.set_parameters([Parameter(name, value=value)])
    return result.successful, result.reason


def test_live_parameter_changes_what_is_in_use(make_node):
    node = make_node()
    kept = watched(node, NodeParams())

    assert set_one(node, 'no_image_warning_s', 9.0) == (True, '')

    assert kept == [NodeParams(no_image_warning_s=9.0)]
    assert node.get_parameter('no_image_warning_s').value == 9.0


# A list, as in a file, and an array, as `ros2 param set` sends it.
RATES = [
    pytest.param(Parameter('max_rate_hz', value=[7.5]), id='list'),
    pytest.param(
        Parameter.from_parameter_msg(
            ParameterMessage(
                name='max_rate_hz',
                value=ParameterValue(
                    type=ParameterType.PARAMETER_DOUBLE_ARRAY, double_array_value=[7.5]
                ),
            )
        ),
        id='array',
    ),
]


@pytest.mark.parametrize('rate', RATES)
def test_live_list_changes_what_is_in_use(make_node, rate):
    node = make_node()
    kept = watched(node, NodeParams())

    (result,) = node.set_parameters([rate])

    assert (result.successful, result.reason) == (True, '')
    assert kept == [NodeParams(max_rate_hz=(7.5,))]


@pytest.mark.parametrize('rate', RATES)
def test_list_that_was_set_before_configure_is_read(make_node, rate):
    node = make_node()
    watched(node, None)

    node.set_parameters([rate])

    assert ros_params.read(node).max_rate_hz == (7.5,)


def test_other_parameters_are_refused_while_in_use(make_node):
    node = make_node()
    kept = watched(node, NodeParams())

    assert set_one(node, 'feature_dtype', 'float16') == (
        False,
        'feature_dtype changes only while the node is unconfigured; clean up first',
    )

    assert kept == [NodeParams()]
    assert node.get_parameter('feature_dtype').value == 'float32'


def test_everything_changes_while_nothing_is_in_use(make_node):
    node = make_node()
    watched(node, None)

    assert set_one(node, 'feature_dtype', 'float16') == (True, '')
    assert ros_params.read(node).feature_dtype == 'float16'


def test_a_refused_parameter_takes_the_others_with_it(make_node):
    node = make_node()
    kept = watched(node, NodeParams())

    result = node.set_parameters_atomically(
        [Parameter('no_image_warning_s', value=9.0), Parameter('model', value='other')]
    )

    assert not result.successful
    assert kept == [NodeParams()]
    assert node.get_parameter('no_image_warning_s').value == NodeParams().no_image_warning_s
