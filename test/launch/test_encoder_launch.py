"""The launch files: what they declare, by stand-ins, and what they start, where launch_ros is."""

from __future__ import annotations

import importlib.util
import math
import os
import re
import signal
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import List  # noqa: UP035 (launch_ros of Humble knows no list[str])

import pytest
import yaml
from helpers.process import GENEROUS_S
from helpers.rviz_config import topics_of

ROOT = Path(__file__).parents[2]
LAUNCH_FILE = ROOT / 'launch' / 'encoder.launch.py'
DEMO_FILE = ROOT / 'launch' / 'demo.launch.py'
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
    def perform(self, context):
        return str(ROOT)


class FindPackagePrefix(Remembered):
    def perform(self, context):
        if self.given[0] not in context.packages:
            raise LookupError(f'package {self.given[0]!r} not found')


class IfCondition(Remembered):
    def evaluate(self, context):
        return self.given[0].perform(context) == 'true'


class IncludeLaunchDescription(Remembered):
    pass


class Node(Remembered):
    pass


class OpaqueFunction(Remembered):
    pass


class PathJoinSubstitution(Remembered):
    pass


class ParameterValue(Remembered):
    pass


class PythonLaunchDescriptionSource(Remembered):
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
        return context.launch_configurations[self.given[0]]


class LaunchContext:
    packages = ('rviz2',)

    def __init__(self, configurations):
        self.launch_configurations = configurations


def prefix_namespace(base, ns):
    return ns if not base or ns.startswith('/') else f'{base.rstrip("/")}/{ns}'.rstrip('/')


def make_namespace_absolute(ns):
    return ns if ns.startswith('/') else f'/{ns}'


STAND_INS = {
    'launch': {
        'LaunchContext': LaunchContext,
        'LaunchDescription': LaunchDescription,
        'LaunchDescriptionEntity': object,
    },
    'launch.actions': {
        'DeclareLaunchArgument': DeclareLaunchArgument,
        'IncludeLaunchDescription': IncludeLaunchDescription,
        'OpaqueFunction': OpaqueFunction,
        'SetEnvironmentVariable': SetEnvironmentVariable,
    },
    'launch.conditions': {'IfCondition': IfCondition},
    'launch.launch_description_sources': {
        'PythonLaunchDescriptionSource': PythonLaunchDescriptionSource
    },
    'launch.substitutions': {
        'LaunchConfiguration': LaunchConfiguration,
        'PathJoinSubstitution': PathJoinSubstitution,
    },
    'launch_ros': {},
    'launch_ros.actions': {'Node': Node},
    'launch_ros.parameter_descriptions': {'ParameterValue': ParameterValue},
    'launch_ros.substitutions': {
        'FindPackagePrefix': FindPackagePrefix,
        'FindPackageShare': FindPackageShare,
    },
    'launch_ros.utilities': {
        'make_namespace_absolute': make_namespace_absolute,
        'prefix_namespace': prefix_namespace,
    },
}
SHARE = FindPackageShare('theia_ros')


@pytest.fixture
def load(monkeypatch):
    """Load a launch file and return its description."""
    for name, members in STAND_INS.items():
        module = types.ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    for name in TRANSPORT:
        monkeypatch.delenv(name, raising=False)

    def load(file=LAUNCH_FILE):
        spec = importlib.util.spec_from_file_location('a_launch_file', file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.generate_launch_description()

    return load


def defaults(description):
    return {a.given[0]: a.named['default_value'] for a in description.of(DeclareLaunchArgument)}


def override(name, kind):
    return ParameterValue(LaunchConfiguration(name), value_type=kind)


def started(description, **arguments):
    """Return what is started when these arguments are given: the node, and what rviz needs."""
    (action,) = description.of(OpaqueFunction)
    given = {**defaults(description), 'params_file': 'p', **arguments}
    node, *others = action.named['function'](LaunchContext(given))
    return node.named, [other.named for other in others]


def node_with(description, **arguments):
    """Return what the node is started with when these arguments are given."""
    node, others = started(description, **arguments)
    assert others == []
    return node


def shown_by(path):
    """Return the topics that a configuration of rviz subscribes to."""
    return [topic for _, topic in topics_of(yaml.safe_load(Path(path).read_text()))]


@pytest.mark.parametrize('file', [LAUNCH_FILE, DEMO_FILE], ids=lambda file: file.name)
def test_every_argument_is_described(load, file):
    for argument in load(file).of(DeclareLaunchArgument):
        description = argument.named['description']
        assert description.endswith('.'), argument.given
        assert len(description.split()) > 3, argument.given


def test_arguments_have_harmless_defaults(load):
    found = defaults(load())
    assert found['rviz'] == 'false'
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
    others |= {'rviz', 'rviz_frame'}

    assert set(defaults(load())) - others <= set(known)


def test_rviz_shows_every_camera_of_the_node(load, tmp_path):
    file = tmp_path / 'mine.yaml'
    file.write_text('/**: {ros__parameters: {cameras: [left], image_topics: [left/image]}}')
    node, (cloud, window) = started(
        load(),
        params_file=str(file),
        rviz='true',
        rviz_frame='world',
        name='eyes',
        ros_namespace='/pushed',
    )

    assert (cloud['package'], cloud['executable']) == ('theia_ros', 'depth_cloud')
    assert (cloud['name'], cloud['namespace']) == ('eyes_cloud', node['namespace'])
    assert cloud['parameters'] == [{'encoder': '/pushed/eyes'}]
    assert (window['package'], window['executable']) == ('rviz2', 'rviz2')
    option, path, *frame = window['arguments']
    assert option == '-d'
    assert frame == ['-f', 'world']
    topics = shown_by(path)
    assert topics == [
        '/pushed/left/image',
        '/pushed/eyes/left/dinov2/image',
        '/pushed/eyes/left/depth/image_color',
        '/pushed/eyes/left/segmentation/image',
        '/pushed/eyes_cloud/left/points',
    ]


def test_arguments_override_what_rviz_shows(load):
    _, (_, window) = started(
        load(),
        params_file=str(ROOT / 'config' / 'theia.yaml'),
        rviz='true',
        cameras='[a, b]',
        image_topics='[/a/image, /b/image/compressed]',
        model='demo-dinov2-small',
    )

    topics = shown_by(window['arguments'][1])
    # This model has no head for the other maps.
    assert topics == [
        '/a/image',
        '/theia/a/dinov2/image',
        '/b/image/compressed',
        '/theia/b/dinov2/image',
    ]


def test_nothing_is_started_that_an_error_would_leave_behind(load, monkeypatch):
    monkeypatch.setattr(LaunchContext, 'packages', ())

    with pytest.raises(LookupError, match="package 'rviz2' not found"):
        started(load(), rviz='true')


def test_demo_is_the_encoder_with_a_camera(load):
    description = load(DEMO_FILE)

    encoder = PathJoinSubstitution([SHARE, 'launch', 'encoder.launch.py'])
    assert description.of(IncludeLaunchDescription) == [
        IncludeLaunchDescription(PythonLaunchDescriptionSource([encoder]))
    ]
    camera, frames = (node.named for node in description.of(Node))
    assert (camera['package'], camera['executable']) == ('theia_ros', 'demo_camera')
    # Its topic is the node's default.
    assert camera['name'] == 'camera'
    assert camera['parameters'] == [{'video': override('video', str), 'fov_deg': 60.0}]
    assert frames['package'] == 'tf2_ros'
    assert frames['condition'] == IfCondition(LaunchConfiguration('rviz'))
    assert defaults(description)['rviz'] == 'true'
    assert defaults(description)['rviz_frame'] in frames['arguments']


def test_demo_passes_every_argument_on(load):
    # A configuration that is set outside wins over the default of an included file.
    own = set(defaults(load(DEMO_FILE)))
    assert own - set(defaults(load())) == {'video'}


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
from launch.actions import GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import PushRosNamespace, SetRemap

source = PythonLaunchDescriptionSource(sys.argv[1])
arguments = [tuple(a.split(':=', 1)) for a in sys.argv[2:]]
around = {
    'remap': lambda text: SetRemap(*text.split('=')),
    'push': PushRosNamespace,
}
group = [around[name](value) for name, value in arguments if name in around]
group.append(IncludeLaunchDescription(source, launch_arguments=[
    (name, value) for name, value in arguments if name not in around
]))
service = LaunchService()
service.include_launch_description(LaunchDescription([GroupAction(group)]))
sys.exit(service.run())
"""
FAKE = ('backend:=fake', 'model:=theia-tiny-patch16-224-cddsv')


@pytest.fixture
def launched(domain, tmp_path):
    """Launch a file with arguments; return the process and the file that it writes to."""
    pytest.importorskip('launch_ros', reason='needs launch_ros, which has no wheel on PyPI')
    processes = []

    def launched(*arguments, file=LAUNCH_FILE, **environment):
        log = tmp_path / f'launch_{len(processes)}.log'
        with log.open('w') as out:
            process = subprocess.Popen(
                [sys.executable, '-c', RUNNER, str(file), *arguments],
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=tmp_path,
                env={**os.environ, 'PYTHONUNBUFFERED': '1', **environment},
                start_new_session=True,
            )
        processes.append(process)
        return process, log

    yield launched
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def stop(process, log):
    """End a launch as Ctrl-C in a terminal does, and return what it said."""
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(GENEROUS_S) == 0, log.read_text()
    said = log.read_text()
    assert 'process has finished cleanly' in said
    assert 'Traceback' not in said
    return said


def first_features(peer, topic, image_topic, process, log):
    """Send images until features come, and return the first."""
    from helpers import ros_peer
    from sensor_msgs.msg import Image
    from theia_msgs.msg import FeatureTensor

    features = peer.collect(FeatureTensor, topic)
    camera = peer.publisher(Image, image_topic) if image_topic else None
    end = time.monotonic() + GENEROUS_S
    while not features:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        if camera:
            camera.publish(ros_peer.image(sec=7))
        peer.spin(0.1)
    return features[0]


@pytest.fixture
def peer(domain):
    from helpers import ros_peer

    with ros_peer.Peer(domain) as peer:
        yield peer


@pytest.mark.needs_ros
def test_launched_node_serves_a_camera_and_ends_with_ctrl_c(launched, peer):
    from helpers import ros_peer

    process, log = launched(
        *FAKE,
        'cameras:=[front]',
        'image_topics:=[/front/image_raw]',
        'name:=eyes',
        'namespace:=robot1',
    )

    found = first_features(peer, '/robot1/eyes/front/features', '/front/image_raw', process, log)
    assert found.header == ros_peer.image(sec=7).header
    stop(process, log)


@pytest.mark.needs_ros
def test_two_nodes_work_side_by_side(launched, peer):
    sides = ('left', 'right')
    both = [
        launched(*FAKE, f'name:={side}', f'cameras:=[{side}]', f'image_topics:=[/{side}/image]')
        for side in sides
    ]

    for side, (process, log) in zip(sides, both, strict=True):
        first_features(peer, f'/{side}/{side}/features', f'/{side}/image', process, log)
    for process, log in both:
        stop(process, log)


@pytest.mark.needs_ros
def test_topics_can_be_remapped_and_namespaces_pushed(launched, peer):
    process, log = launched(*FAKE, 'remap:=/camera/image_raw=/head/image', 'push:=robot2')

    first_features(peer, '/robot2/theia/camera/features', '/head/image', process, log)
    stop(process, log)


@pytest.mark.needs_ros
def test_time_is_that_of_the_simulation(launched, peer):
    from helpers import ros_peer
    from theia_msgs.msg import EncoderInfo

    infos = peer.collect(EncoderInfo, '/theia/info', ros_peer.LATCHED)
    process, log = launched(*FAKE, 'use_sim_time:=true')

    peer.until(lambda: infos, f'the info of the node, see {log}')
    assert (infos[0].stamp.sec, infos[0].stamp.nanosec) == (0, 0)  # nobody publishes /clock
    stop(process, log)


@pytest.mark.needs_ros
def test_demo_needs_nothing_but_a_model(launched, peer):
    from sensor_msgs.msg import CameraInfo
    from sensor_msgs.msg import Image

    process, log = launched(*FAKE, 'rviz:=false', file=DEMO_FILE)

    infos = peer.collect(CameraInfo, '/theia/camera/camera_info')
    images = peer.collect(Image, '/theia/camera/dinov2/image')
    found = first_features(peer, '/theia/camera/features', '', process, log)
    assert found.header.frame_id == 'camera_optical_frame'
    peer.until(lambda: infos and images, 'a map and its calibration')
    info = infos[0]
    assert (info.width, info.height) == (640, 480)
    assert info.k[0] == pytest.approx(320 / math.tan(math.radians(30)))
    assert (info.k[2], info.k[5]) == (319.5, 239.5)
    stop(process, log)


@pytest.mark.needs_ros
def test_rviz_is_started_with_a_configuration_for_the_node(launched, peer, tmp_path):
    """By a stand-in for rviz2, which has no wheel, that writes down what it is given."""
    from sensor_msgs.msg import PointCloud2

    prefix = tmp_path / 'prefix'
    index = prefix / 'share' / 'ament_index' / 'resource_index' / 'packages'
    program = prefix / 'lib' / 'rviz2' / 'rviz2'
    for folder in (index, program.parent, prefix / 'share' / 'rviz2'):
        folder.mkdir(parents=True)
    (index / 'rviz2').touch()
    program.write_text('#!/bin/sh\necho "$*" > given\ncat "$2" > copy.rviz\nexec sleep 60\n')
    program.chmod(0o755)
    process, log = launched(
        *FAKE,
        *('rviz:=true', 'rviz_frame:=world', 'cameras:=[a,b]', 'image_topics:=[a/image,/b/image]'),
        'push:=robot3',
        AMENT_PREFIX_PATH=f'{prefix}:{os.environ["AMENT_PREFIX_PATH"]}',
    )

    peer.until(lambda: (tmp_path / 'copy.rviz').is_file(), 'the configuration of rviz')
    clouds = peer.collect(PointCloud2, '/robot3/theia_cloud/b/points')
    peer.until(
        lambda: peer.node.count_publishers('/robot3/theia_cloud/b/points'), f'a cloud, see {log}'
    )
    assert clouds == []  # no camera has told its calibration
    topics = shown_by(tmp_path / 'copy.rviz')
    assert topics[0] == '/robot3/a/image'
    assert '/robot3/theia/b/segmentation/image' in topics
    os.killpg(process.pid, signal.SIGINT)
    process.wait(60)
    given = re.match(r'-d (\S+\.rviz) -f world ', (tmp_path / 'given').read_text())
    assert not Path(given[1]).exists()  # it goes with the launch
    assert 'Traceback' not in log.read_text()


@pytest.mark.needs_ros
def test_launched_node_tells_a_mistake(launched):
    process, log = launched('backend:=fake', 'model:=theia-huge')

    process.wait(60)

    said = log.read_text()
    assert "unknown model 'theia-huge'" in said
    assert 'exit code 2' in said
    assert 'Traceback' not in said
