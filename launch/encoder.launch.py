"""Start the encoder node and, unless told otherwise, configure and activate it.

Arguments that are called like a parameter override it; what they mean stands in the parameter
file. To remap topics, include this file in a group with `SetRemap`.
"""

import os
from collections.abc import Callable
from dataclasses import fields
from typing import List  # noqa: UP035 (launch_ros of Humble knows no list[str])

from launch import LaunchContext
from launch import LaunchDescription
from launch import LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument
from launch.actions import OpaqueFunction
from launch.actions import SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch.substitutions import PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackagePrefix
from launch_ros.substitutions import FindPackageShare
from launch_ros.utilities import make_namespace_absolute
from launch_ros.utilities import prefix_namespace

from theia_ros import transport
from theia_ros.params import NodeParams
from theia_ros.rviz import write_config

SHARE = FindPackageShare('theia_ros')
OVERRIDES = ('model', 'backend', 'precision', 'device', 'cameras', 'image_topics')
PARAMS = {f.name: f for f in fields(NodeParams)}
LIST = List[str]  # noqa: UP006
TYPES = {name: LIST if isinstance(PARAMS[name].default, tuple) else str for name in OVERRIDES}
TYPES |= {'autostart': bool, 'use_sim_time': bool}


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'params_file',
                default_value=PathJoinSubstitution([SHARE, 'config', 'theia.yaml']),
                description='Parameters of the node; the default file names all of them.',
            ),
            DeclareLaunchArgument(
                'namespace', default_value='', description='Namespace of the node.'
            ),
            DeclareLaunchArgument(
                'name',
                default_value='theia',
                description='Name of the node; a second one beside it needs another.',
            ),
            DeclareLaunchArgument(
                'autostart',
                default_value='true',
                description='Configure and activate at once; false leaves it to a manager.',
            ),
            DeclareLaunchArgument(
                'use_sim_time', default_value='false', description='Take time from /clock.'
            ),
            DeclareLaunchArgument(
                'log_level',
                default_value='info',
                description='What the node logs: debug, info, warn, error or fatal.',
            ),
            DeclareLaunchArgument(
                'rviz', default_value='false', description='Show the maps of all cameras in rviz.'
            ),
            DeclareLaunchArgument(
                'rviz_frame',
                default_value='base_link',
                description='Fixed frame of rviz, in which the cloud of depth stands.',
            ),
            *(
                DeclareLaunchArgument(name, default_value='', description=_meaning(name))
                for name in OVERRIDES
            ),
            *_transport(),
            OpaqueFunction(function=_nodes),
        ]
    )


def _meaning(name: str) -> str:
    """Tell what a parameter means, for a person."""
    about = PARAMS[name].metadata
    choices = f' One of {", ".join(about["choices"])}.' if about['choices'] else ''
    example = ' Written as [a,b].' if TYPES[name] is LIST else ''
    return f'{about["doc"]}{choices}{example} Empty: as in params_file.'


def _transport() -> list[SetEnvironmentVariable]:
    """Choose a transport that large best-effort images survive, unless one is chosen."""
    if transport.is_chosen(os.environ):
        return []
    profile = PathJoinSubstitution([SHARE, 'config', 'fastdds.xml'])
    return [SetEnvironmentVariable(transport.profile_variable(os.environ), profile)]


def _nodes(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    overrides = {
        name: ParameterValue(LaunchConfiguration(name), value_type=kind)
        for name, kind in TYPES.items()
        if value(name)
    }
    encoder = Node(
        package='theia_ros',
        executable='encoder_node',
        name=value('name'),
        namespace=value('namespace'),
        output='screen',
        parameters=[value('params_file'), overrides],
        arguments=['--ros-args', '--log-level', value('log_level')],
    )
    # All of it before the node runs: an error later would end the launch and not the node.
    shown = IfCondition(LaunchConfiguration('rviz')).evaluate(context)
    return [encoder, *(_rviz(context, value) if shown else [])]


def _rviz(context: LaunchContext, value: Callable[[str], str]) -> list[Node]:
    FindPackagePrefix('rviz2').perform(context)
    around = context.launch_configurations.get('ros_namespace')
    namespace = make_namespace_absolute(prefix_namespace(around, value('namespace')))
    node = prefix_namespace(namespace, value('name'))
    overrides = {name: value(name) for name in ('model', 'cameras', 'image_topics')}
    config = write_config(SHARE.perform(context), node, value('params_file'), overrides)
    return [
        Node(
            package='theia_ros',
            executable='depth_cloud',
            name=f'{value("name")}_cloud',
            namespace=value('namespace'),
            output='screen',
            parameters=[{'encoder': node}],
        ),
        Node(
            package='rviz2',
            executable='rviz2',
            name=f'{value("name")}_rviz',
            namespace=value('namespace'),
            arguments=['-d', config, '-f', value('rviz_frame')],
        ),
    ]
