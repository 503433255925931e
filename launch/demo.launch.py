"""Start a camera that plays pictures, the encoder node, and rviz.

Every argument of encoder.launch.py can be given as well.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.actions import IncludeLaunchDescription
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch.substitutions import PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

ENCODER = PathJoinSubstitution([FindPackageShare('theia_ros'), 'launch', 'encoder.launch.py'])
# Axes of a body, x forward and z up, to those of a camera, z forward and y down.
OPTICAL = ('--qx', '-0.5', '--qy', '0.5', '--qz', '-0.5', '--qw', '0.5')


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'rviz', default_value='true', description='Show the maps in rviz.'
            ),
            DeclareLaunchArgument(
                'rviz_frame',
                default_value='camera_link',
                description='Fixed frame of rviz, in which the cloud of depth stands.',
            ),
            DeclareLaunchArgument(
                'video',
                default_value='',
                description='Video file for the camera. Empty: photographs and a robot arm.',
            ),
            # First, since it also chooses the transport.
            IncludeLaunchDescription(PythonLaunchDescriptionSource([ENCODER])),
            Node(
                package='theia_ros',
                executable='demo_camera',
                name='camera',
                output='screen',
                parameters=[
                    {
                        'video': ParameterValue(LaunchConfiguration('video'), value_type=str),
                        # A guess, without which there would be no cloud.
                        'fov_deg': 60.0,
                    }
                ],
            ),
            Node(
                package='tf2_ros',
                executable='static_transform_publisher',
                arguments=[
                    *('--frame-id', 'camera_link', '--child-frame-id', 'camera_optical_frame'),
                    *OPTICAL,
                ],
                condition=IfCondition(LaunchConfiguration('rviz')),
            ),
        ]
    )
