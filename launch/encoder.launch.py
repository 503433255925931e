"""Start the encoder node and, unless told otherwise, configure and activate it.

Every argument but the first few overrides the parameter of the same name in the parameter file;
what they mean stands there.
"""

import os
from typing import List  # noqa: UP035 (launch_ros of Humble knows no list[str])

from launch import LaunchContext
from launch import LaunchDescription
from launch import LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument
from launch.actions import OpaqueFunction
from launch.actions import SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch.substitutions import PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare('theia_ros')
STRINGS = List[str]  # noqa: UP006
OVERRIDES = {
    'model': (str, 'Name of a model, or its folder.'),
    'backend': (str, 'What runs the model.'),
    'precision': (str, 'Arithmetic of the engine.'),
    'device': (str, 'Where the model runs.'),
    'cameras': (STRINGS, 'Names of the cameras, such as [front,wrist].'),
    'image_topics': (STRINGS, 'Their topics, such as [/front/image_raw,/wrist/image_raw].'),
}
TYPES = {'autostart': bool, 'use_sim_time': bool}
TYPES |= {name: kind for name, (kind, _) in OVERRIDES.items()}


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'params_file',
                default_value=PathJoinSubstitution([SHARE, 'config', 'theia.yaml']),
                description='Parameters of the node; the default file names all of them.',
            ),
            DeclareLaunchArgument('namespace', default_value='', description='Of the node.'),
            DeclareLaunchArgument('name', default_value='theia', description='Of the node.'),
            DeclareLaunchArgument(
                'autostart',
                default_value='true',
                description='Configure and activate at once; false leaves it to a manager.',
            ),
            DeclareLaunchArgument(
                'use_sim_time', default_value='false', description='Take time from /clock.'
            ),
            DeclareLaunchArgument('log_level', default_value='info', description='Of the node.'),
            *(
                DeclareLaunchArgument(name, default_value='', description=f'{text} (Overrides.)')
                for name, (_, text) in OVERRIDES.items()
            ),
            *_transport(),
            OpaqueFunction(function=_encoder),
        ]
    )


def _transport() -> list[SetEnvironmentVariable]:
    """Choose a transport that large best-effort images survive, unless one is chosen."""
    chosen = ('FASTDDS_BUILTIN_TRANSPORTS', 'FASTDDS_DEFAULT_PROFILES_FILE')
    old = 'FASTRTPS_DEFAULT_PROFILES_FILE'  # what Humble knows
    if any(os.environ.get(name) for name in (*chosen, old)):
        return []
    profile = PathJoinSubstitution([SHARE, 'config', 'fastdds.xml'])
    name = old if os.environ.get('ROS_DISTRO') == 'humble' else chosen[1]
    return [SetEnvironmentVariable(name, profile)]


def _encoder(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    overrides = {
        name: ParameterValue(LaunchConfiguration(name), value_type=kind)
        for name, kind in TYPES.items()
        if value(name)
    }
    return [
        Node(
            package='theia_ros',
            executable='encoder_node',
            name=value('name'),
            namespace=value('namespace'),
            output='screen',
            parameters=[value('params_file'), overrides],
            arguments=['--ros-args', '--log-level', value('log_level')],
        )
    ]
