"""Each dependency of `package.xml` is a key that rosdep knows; a new one is looked up first."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]

# In rosdep/python.yaml of ros/rosdistro at 8468e88 (2026-08-22), with packages for Ubuntu.
OF_UBUNTU = {
    *('python3-aiohttp', 'python3-numpy', 'python3-opencv', 'python3-pil', 'python3-pytest'),
    *('python3-setuptools', 'python3-tqdm', 'python3-yaml'),
}
# Released in Humble, Jazzy, Kilted, Lyrical and Rolling, by the same revision.
OF_ROS = {
    *('ament_cmake', 'ament_cmake_python', 'builtin_interfaces', 'cv_bridge', 'diagnostic_msgs'),
    *('launch', 'launch_ros', 'lifecycle_msgs', 'rcl_interfaces', 'rclpy', 'ros2launch'),
    *('rosidl_default_generators', 'rosidl_default_runtime', 'sensor_msgs', 'std_msgs', 'tf2_ros'),
}


def named(path: Path) -> set[str]:
    tree = ElementTree.parse(path)
    return {element.text for element in tree.iter() if element.tag.endswith('depend')}


def test_every_key_was_looked_up() -> None:
    assert named(ROOT / 'package.xml') == OF_UBUNTU | OF_ROS


def test_the_messages_need_nothing_that_the_package_does_not_name() -> None:
    assert named(ROOT / 'msg' / 'package.xml') <= named(ROOT / 'package.xml')
