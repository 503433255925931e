"""Imports point inward: ring 0 numpy, ring 1 torch, ring 2 messages, ring 3 rclpy."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / 'theia_ros'

MESSAGES = {'sensor_msgs', 'std_msgs', 'builtin_interfaces', 'theia_msgs', 'diagnostic_msgs'}
ROS = {'rclpy', 'rcl_interfaces', 'lifecycle_msgs', 'launch', 'launch_ros'}
TORCH = {'torch', 'torch_tensorrt', 'tensorrt', 'tensorrt_rtx', 'openvino'}
PLAIN = ROS | MESSAGES | TORCH

# What a module may not import, by the longest matching prefix of its path.
FORBIDDEN: dict[str, set[str]] = {
    '': ROS | MESSAGES,
    '__init__.py': PLAIN | {'numpy'},
    'errors.py': PLAIN | {'numpy'},
    'catalog.py': PLAIN | {'numpy'},
    'datatypes.py': PLAIN,
    'params.py': PLAIN | {'numpy'},
    'start.py': PLAIN | {'numpy'},
    'latest.py': PLAIN | {'numpy'},
    'worker.py': PLAIN | {'numpy'},
    'timing.py': PLAIN,
    'images.py': PLAIN,
    'raw_images.py': PLAIN,
    'distil/config.py': PLAIN | {'numpy'},
    'distil/schedule.py': PLAIN,
    'distil/sources.py': PLAIN,
    'preprocess.py': PLAIN,
    'resize.py': PLAIN,
    'intrinsics.py': PLAIN,
    'sync.py': PLAIN | {'numpy'},
    'transport.py': PLAIN | {'numpy'},
    'cloud.py': PLAIN,
    'rviz.py': PLAIN | {'numpy'},
    'rate.py': PLAIN | {'numpy'},
    'client/': PLAIN,
    'client/tensors.py': ROS | MESSAGES,
    'client/subscriber.py': TORCH,
    'neighbours.py': PLAIN,
    'npz.py': PLAIN,
    'hub/': PLAIN,
    'doctor/': PLAIN | {'numpy'},
    'doctor/probes.py': set(),  # each in a process of its own, to look at what it imports
    'cli.py': PLAIN | {'numpy'},
    'conversions.py': ROS | TORCH,
    'nodes/': TORCH,
    'soak/': TORCH,
    'soak/figures.py': PLAIN,
    'bench/ros_camera.py': TORCH,
    'bench/ros_graph.py': TORCH,
    'bench/ros_process.py': TORCH,
    'bench/ros_race.py': TORCH,
    'view/': TORCH,
    'view/hub.py': PLAIN | {'numpy'},
    'view/panes.py': PLAIN | {'numpy'},
    'view/pictures.py': ROS | TORCH,
    'view/server.py': PLAIN | {'numpy'},
    'view/state.py': ROS | TORCH | {'numpy'},
    'demo/': TORCH,
    'demo/model.py': PLAIN,
    'demo/dinov2.py': PLAIN,
    'demo/sources.py': PLAIN,
    'demo/panel.py': PLAIN,
}


def imported_roots(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split('.')[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split('.')[0]


def test_every_rule_is_for_something_that_is_there() -> None:
    for prefix in FORBIDDEN:
        assert (PACKAGE / prefix).exists(), prefix


@pytest.mark.parametrize(
    'path', sorted(PACKAGE.rglob('*.py')), ids=lambda p: p.relative_to(PACKAGE).as_posix()
)
def test_module_stays_in_its_ring(path: Path) -> None:
    name = path.relative_to(PACKAGE).as_posix()
    rule = max((p for p in FORBIDDEN if name.startswith(p)), key=len)
    wrong = FORBIDDEN[rule] & set(imported_roots(path))
    assert not wrong, f'{name} may not import {sorted(wrong)}'


# What comes with the rest: importing the module alone must not bring in any of these.
HEAVY = {
    'theia_ros': PLAIN | {'numpy', 'PIL'},
    'theia_ros.cli': PLAIN | {'numpy', 'PIL'},
    'theia_ros.params': PLAIN | {'numpy', 'PIL'},
    'theia_ros.datatypes': PLAIN | {'PIL'},
    'theia_ros.preprocess': PLAIN,
    'theia_ros.client': PLAIN | {'PIL'},
    'theia_ros.encoder': ROS | MESSAGES,
    'theia_ros.conversions': PLAIN,
}


@pytest.mark.parametrize('module', HEAVY)
def test_importing_brings_in_nothing_heavy(module: str) -> None:
    code = f'import sys, {module}; print(*{{m.split(".")[0] for m in sys.modules}})'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert not HEAVY[module] & set(done.stdout.split())
