"""The parameters of `params.py` on a node."""

from __future__ import annotations

import array
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import Field
from dataclasses import fields
from dataclasses import replace
from typing import Any

from rcl_interfaces.msg import FloatingPointRange
from rcl_interfaces.msg import IntegerRange
from rcl_interfaces.msg import ParameterDescriptor
from rcl_interfaces.msg import SetParametersResult
from rclpy.exceptions import NameValidationException
from rclpy.exceptions import ParameterUninitializedException
from rclpy.expand_topic_name import expand_topic_name
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.validate_full_topic_name import validate_full_topic_name
from rclpy.validate_topic_name import validate_topic_name

from theia_ros.errors import first_line
from theia_ros.errors import ParameterError
from theia_ros.params import make
from theia_ros.params import NodeParams

# What ROS itself puts among the parameters of a node.
_OF_ROS = ('use_sim_time', 'start_type_description_service', 'qos_overrides.')


def declare(node: Node) -> None:
    """Declare every parameter on a node.

    Raises:
        ParameterError: The node was given one that does not exist.
    """
    for f in fields(NodeParams):
        default = list(f.default) if isinstance(f.default, tuple) else f.default
        node.declare_parameter(f.name, default, _descriptor(f))
    given = getattr(node, '_parameter_overrides', {})  # rclpy drops unknown ones without a word
    for name in given:
        if not node.has_parameter(name) and not name.startswith(_OF_ROS):
            known = ', '.join(f.name for f in fields(NodeParams))
            raise ParameterError(f'unknown parameter {name!r}; known: {known}')


def read(node: Node) -> NodeParams:
    """Return the parameters of a node.

    Raises:
        ParameterError: A value is outside its limits, or values do not fit each other, or no
            topic can be called so.
    """
    params = make(NodeParams, {f.name: _value(node, f.name) for f in fields(NodeParams)})
    for topic in params.image_topics:
        try:
            validate_topic_name(topic)
            full = expand_topic_name(topic, node.get_name(), node.get_namespace())
            validate_full_topic_name(full)
        except (NameValidationException, ValueError) as exc:
            wrong = first_line(exc).rstrip(':')
            raise ParameterError(f'image topic {topic!r}: {wrong}') from exc
    return params


def _value(node: Node, name: str) -> Any:
    try:
        return _plain(node.get_parameter(name))
    except ParameterUninitializedException:
        return ()  # an empty list, which has no type in a parameter file


def _plain(parameter: Parameter) -> Any:
    """Return a value as `params.py` has it."""
    value = parameter.value
    # Numbers that came by a service are an array, those of a file a list.
    return tuple(value) if isinstance(value, list | array.array) else value


def watch(
    node: Node, current: Callable[[], NodeParams | None], changed: Callable[[NodeParams], None]
) -> None:
    """Let parameters change: all of them while there are none in use, then the live ones.

    Args:
        node: The node that has the parameters.
        current: Returns those in use, or None while the node is unconfigured.
        changed: Is given the new ones.
    """
    live = {f.name for f in fields(NodeParams) if f.metadata['live']}
    ours = {f.name for f in fields(NodeParams)}

    def check(parameters: Sequence[Parameter]) -> SetParametersResult:
        in_use = current()
        values = {p.name: _plain(p) for p in parameters if p.name in ours}
        if in_use is None or not values:
            return SetParametersResult(successful=True)
        fixed = sorted(set(values) - live)
        if fixed:
            return SetParametersResult(
                successful=False,
                reason=f'{fixed[0]} changes only while the node is unconfigured; clean up first',
            )
        try:
            changed(replace(in_use, **values))
        except ParameterError as exc:
            return SetParametersResult(successful=False, reason=str(exc))
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(check)


def _descriptor(f: Field[Any]) -> ParameterDescriptor:
    meta = f.metadata
    rules = [] if meta['live'] else ['Changes only while the node is unconfigured.']
    if meta['choices']:
        rules.append(f'One of: {", ".join(meta["choices"])}.')
    descriptor = ParameterDescriptor(
        description=meta['doc'], additional_constraints=' '.join(rules)
    )
    if meta['minimum'] is not None:
        low, high = meta['minimum'], meta['maximum']
        if isinstance(f.default, int):
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
        else:
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    return descriptor
