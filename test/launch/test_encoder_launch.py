"""The launch file: what it declares, by stand-ins, and what it starts, where launch_ros is."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import List  # noqa: UP035 (launch_ros of Humble knows no list[str])

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LAUNCH_FILE = ROOT / 'launch' / 'encoder.launch.py'
TRANSPORT = (
    'FASTDDS_BUILTIN_TRANSPORTS',
    'FASTDDS_DEFAULT_PROFILES_FILE',
    'FASTRTPS_DEFAULT_PROFILES_FILE',
)


# --- by stand-ins that only remember what they are given -----------------------------------------


class Remembered:
    def __init__(self, *given, **named):
        self.given = given
        self.named = named

    def __eq__(self, other):
        return (type(self), self.given, self.named) == (type(other), other.given, other.named)

    __hash__ = None


class DeclareLaunchArgument(Remembered):
    pass


class FindPackageShare(Remembered):
    pass


class Node(Remembered):
    pass


class OpaqueFunction(Remembered):
    pass


class PathJoinSubstitution(Remembered):
    pass


class ParameterValue(Remembered):
    pass


class SetEnvironmentVariable(Remembered):
    pass


class LaunchDescription:
    def __init__(self, entities):
        self.entities = entities

    def of(self, kind):
        return [entity for entity in self.entities if isinstance(entity, kind)]


class LaunchConfiguration(Remembered):
    def perform(self, context):
        return context[self.given[0]]


STAND_INS = {
    'launch': {
        'LaunchContext': dict,
        'LaunchDescription': LaunchDescription,
        'LaunchDescriptionEntity': object,
    },
    'launch.actions': {
        'DeclareLaunchArgument': DeclareLaunchArgument,
        'OpaqueFunction': OpaqueFunction,
        'SetEnvironmentVariable': SetEnvironmentVariable,
    },
    'launch.substitutions': {
        'LaunchConfiguration': LaunchConfiguration,
        'PathJoinSubstitution': PathJoinSubstitution,
    },
    'launch_ros': {},
    'launch_ros.actions': {'Node': Node},
    'launch_ros.parameter_descriptions': {'ParameterValue': ParameterValue},
    'launch_ros.substitutions': {'FindPackageShare': FindPackageShare},
}
SHARE = FindPackageShare('theia_ros')


@pytest.fixture
def load(monkeypatch):
    """Load the launch file and return its description."""
    for name, members in STAND_INS.items():
        module = types.ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    for name in TRANSPORT:
        monkeypatch.delenv(name, raising=False)

    def load():
        spec = importlib.util.spec_from_file_location('encoder_launch', LAUNCH_FILE)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.generate_launch_description()

    return load


def defaults(description):
    return {a.given[0]: a.named['default_value'] for a in description.of(DeclareLaunchArgument)}


def override(name, kind):
    return ParameterValue(LaunchConfiguration(name), value_type=kind)


def node_with(description, **arguments):
    """Return what the node is started with when these arguments are given."""
    (action,) = description.of(OpaqueFunction)
    (node,) = action.named['function']({**defaults(description), 'params_file': 'p', **arguments})
    return node.named


def test_every_argument_is_described(load):
    description = load()

    arguments = description.of(DeclareLaunchArgument)
    assert all(a.named['description'].endswith('.') or '(' in a.named['description']
               for a in arguments)  # fmt: skip
    found = defaults(description)
    assert found['params_file'] == PathJoinSubstitution([SHARE, 'config', 'theia.yaml'])
    assert found['autostart'] == 'true'
    assert found['name'] == 'theia'
    assert found['namespace'] == ''
    assert found['use_sim_time'] == 'false'


def test_arguments_have_no_defaults_of_parameters(load):
    # A default stands in theia_ros/params.py, and nowhere else.
    for name in ('model', 'backend', 'precision', 'device', 'cameras', 'image_topics'):
        assert defaults(load())[name] == ''


def test_node_is_started_with_the_parameter_file_alone(load):
    node = node_with(load())

    assert (node['package'], node['executable']) == ('theia_ros', 'encoder_node')
    assert (node['name'], node['namespace']) == ('theia', '')
    assert node['output'] == 'screen'
    first, overrides = node['parameters']
    assert first == 'p'
    assert overrides == {name: override(name, bool) for name in ('autostart', 'use_sim_time')}
    assert node['arguments'] == ['--ros-args', '--log-level', 'info']


def test_arguments_override_the_parameter_file(load):
    node = node_with(
        load(),
        model='/a folder/tiny',
        backend='fake',
        cameras='[front, wrist]',
        image_topics='[/front/image_raw, wrist/compressed]',
        autostart='false',
        namespace='robot1',
        name='eyes',
        log_level='debug',
    )

    first, overrides = node['parameters']
    assert first == 'p'
    # Types are given, so that a model called 123 or a camera called on stays a string.
    kinds = {'autostart': bool, 'use_sim_time': bool, 'model': str, 'backend': str}
    kinds |= {'cameras': List[str], 'image_topics': List[str]}  # noqa: UP006
    assert overrides == {name: override(name, kind) for name, kind in kinds.items()}
    assert (node['name'], node['namespace']) == ('eyes', 'robot1')
    assert node['arguments'][-1] == 'debug'


def test_overrides_are_parameters(load):
    known = yaml.safe_load((ROOT / 'config' / 'theia.yaml').read_text())['/**']['ros__parameters']
    others = {'params_file', 'namespace', 'name', 'use_sim_time', 'log_level'}

    assert set(defaults(load())) - others <= set(known)


@pytest.mark.parametrize(
    ('distro', 'variable'),
    [
        pytest.param('kilted', 'FASTDDS_DEFAULT_PROFILES_FILE', id='kilted'),
        pytest.param('humble', 'FASTRTPS_DEFAULT_PROFILES_FILE', id='humble'),
    ],
)
def test_transport_is_chosen_that_keeps_images(load, monkeypatch, distro, variable):
    monkeypatch.setenv('ROS_DISTRO', distro)

    profile = PathJoinSubstitution([SHARE, 'config', 'fastdds.xml'])
    assert load().of(SetEnvironmentVariable) == [SetEnvironmentVariable(variable, profile)]
    assert (ROOT / 'config' / 'fastdds.xml').is_file()


@pytest.mark.parametrize('variable', TRANSPORT)
def test_transport_of_the_user_stays(load, monkeypatch, variable):
    monkeypatch.setenv(variable, 'mine')

    assert load().of(SetEnvironmentVariable) == []


# --- with the real launch_ros --------------------------------------------------------------------

RUNNER = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

source = PythonLaunchDescriptionSource(sys.argv[1])
arguments = [tuple(a.split(':=', 1)) for a in sys.argv[2:]]
service = LaunchService()
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)])
)
sys.exit(service.run())
"""


@pytest.fixture
def launched(domain, tmp_path, request):
    """Launch the node with arguments; return the process and the file that it writes to."""
    pytest.importorskip('launch_ros', reason='needs launch_ros, which has no wheel on PyPI')
    processes = []

    def launched(*arguments):
        log = tmp_path / 'launch.log'
        with log.open('w') as file:
            process = subprocess.Popen(
                [sys.executable, '-c', RUNNER, str(LAUNCH_FILE), *arguments],
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=tmp_path,
                env={**os.environ, 'PYTHONUNBUFFERED': '1'},
                start_new_session=True,
            )
        processes.append(process)
        return process, log

    yield launched
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.needs_ros
def test_launched_node_serves_a_camera_and_ends_with_ctrl_c(launched, domain):
    from helpers import ros_peer
    from sensor_msgs.msg import Image
    from theia_msgs.msg import FeatureTensor

    process, log = launched(
        'backend:=fake',
        'model:=theia-tiny-patch16-224-cddsv',
        'cameras:=[front]',
        'image_topics:=[/front/image_raw]',
        'name:=eyes',
        'namespace:=robot1',
    )
    with ros_peer.Peer(domain) as peer:
        features = peer.collect(FeatureTensor, '/robot1/eyes/front/features')
        camera = peer.publisher(Image, '/front/image_raw')
        end = time.monotonic() + ros_peer.GENEROUS_S
        while not features:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            camera.publish(ros_peer.image(sec=7))
            peer.spin(0.1)

        assert features[0].header == ros_peer.image(sec=7).header
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        assert process.wait(ros_peer.GENEROUS_S) == 0, log.read_text()

    said = log.read_text()
    assert 'process has finished cleanly' in said
    assert 'Traceback' not in said


@pytest.mark.needs_ros
def test_launched_node_tells_a_mistake(launched):
    process, log = launched('backend:=fake', 'model:=theia-huge')

    process.wait(60)

    said = log.read_text()
    assert "unknown model 'theia-huge'" in said
    assert 'exit code 2' in said
    assert 'Traceback' not in said
