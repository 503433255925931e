"""The doctor on a real ROS, also on one that is broken on purpose."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import theia_msgs.msg

from theia_ros.doctor import ros
from theia_ros.doctor import transport
from theia_ros.doctor.facts import Facts
from theia_ros.doctor.facts import Request
from theia_ros.doctor.finding import Level
from theia_ros.doctor.memory import is_dead
from theia_ros.doctor.messages import FIELDS

ROOT = Path(__file__).parents[2]
PROFILE = {'FASTDDS_DEFAULT_PROFILES_FILE': str(ROOT / 'config' / 'fastdds.xml')}
TRANSPORT = ('FASTDDS_', 'FASTRTPS_')

pytestmark = pytest.mark.needs_ros


def environ(*fakes: Path, **variables: str) -> dict[str, str]:
    """Return our variables without a transport, with folders in front of python's path."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(TRANSPORT)}
    path = os.pathsep.join(map(str, fakes))
    return {**ours, **variables, **({'PYTHONPATH': path} if path else {})}


def test_the_fields_that_the_package_knows_are_those_of_the_built_messages() -> None:
    built = {
        name: kind.get_fields_and_field_types()
        for name, kind in vars(theia_msgs.msg).items()
        if hasattr(kind, 'get_fields_and_field_types')
    }
    assert built == FIELDS


def test_a_good_ros(domain) -> None:
    facts = Facts(environ=environ())
    found = [*ros.rclpy(facts), *ros.messages(facts), *ros.node(facts)]
    assert [f.name for f in found] == ['rclpy', 'theia_msgs', 'encoder_node']
    assert {f.level for f in found} == {Level.OK}, found


def test_messages_of_another_version(domain, tmp_path: Path) -> None:
    package = tmp_path / 'theia_msgs'
    package.mkdir()
    (package / '__init__.py').touch()
    (package / 'msg.py').write_text(
        'class FeatureTensor:\n'
        '    @classmethod\n'
        '    def get_fields_and_field_types(cls):\n'
        "        return {'header': 'std_msgs/Header', 'unit': 'string'}\n"
    )
    facts = Facts(environ=environ(tmp_path))
    (finding,) = ros.messages(facts)
    assert finding.level is Level.ERROR
    assert finding.found == str(package)
    assert 'FeatureTensor lacks data, dtype, ' in finding.wrong
    assert 'has also unit' in finding.wrong
    (finding,) = ros.node(facts)
    assert finding.level is Level.ERROR
    assert finding.wrong.startswith('ImportError: cannot import name ')


@pytest.mark.parametrize(
    ('code', 'wrong'),
    [
        ("raise AttributeError('_ARRAY_API not found')", 'another major version of numpy'),
        ('import os, signal; os.kill(os.getpid(), signal.SIGSEGV)', 'it crashed with SIGSEGV'),
        ('class CvBridge: pass', 'AttributeError'),
    ],
)
def test_a_cv_bridge_that_is_broken(code: str, wrong: str, tmp_path: Path) -> None:
    (tmp_path / 'cv_bridge.py').write_text(code)
    (finding,) = ros.cv_bridge(Facts(environ=environ(tmp_path)))
    assert finding.level is Level.WARNING
    assert wrong in finding.wrong
    assert 'costs only images in encodings' in finding.wrong


def test_a_middleware_that_is_not_installed(domain) -> None:
    (finding,) = ros.rclpy(Facts(environ=environ(RMW_IMPLEMENTATION='rmw_nobody_cpp')))
    assert finding.level is Level.ERROR
    assert 'rmw_nobody_cpp' in finding.wrong
    assert 'unset RMW_IMPLEMENTATION' in finding.cures


def test_a_domain_that_is_no_number() -> None:
    (finding,) = ros.rclpy(Facts(environ=environ(ROS_DOMAIN_ID='abc')))
    assert finding.level is Level.ERROR
    assert 'ROS_DOMAIN_ID is not an integral number' in finding.wrong
    assert '.c:' not in finding.wrong
    assert finding.cures == ('export ROS_DOMAIN_ID=0',)


# --- parameter files -----------------------------------------------------------------------------


def parameters(tmp_path: Path, text: str, given=None):
    file = tmp_path / 'robot.yaml'
    file.write_text(text)
    facts = Facts(Request(given or {}, file), environ=environ())
    (finding,) = ros.node(facts)
    assert '\n' not in finding.wrong
    return facts, finding


HEAD = '/**:\n  ros__parameters:\n'


def test_a_file_of_parameters_is_read_as_the_node_reads_it(domain, tmp_path: Path) -> None:
    text = HEAD + '    cameras: [front, wrist]\n    image_topics: [/a, /b]\n    max_batch: 2\n'
    facts, finding = parameters(tmp_path, text, {'precision': 'bf16'})
    assert finding.level is Level.OK
    assert finding.found == f'{tmp_path}/robot.yaml sets cameras, image_topics, max_batch'
    assert facts.params.cameras == ('front', 'wrist')
    assert (facts.params.max_batch, facts.params.precision) == (2, 'bf16')


# Each starts a process; what the node says of them is in test_ros_params.py.
SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ('text', 'wrong'),
    [
        (HEAD + '    modle: x\n', "unknown parameter 'modle'; known: model, backend"),
        (HEAD + '    cameras: [a, b]\n', 'cameras names 2 and image_topics 1'),
        pytest.param(HEAD + '    max_batch: 65\n', 'max_batch', marks=SLOW),
        pytest.param(HEAD + '    max_batch: many\n', "'max_batch' to 'many'", marks=SLOW),
        pytest.param(HEAD + '    backend: magic\n', "'magic'; use one of auto, ", marks=SLOW),
        pytest.param(HEAD + '    image_topics: [9a]\n', 'image topic', marks=SLOW),
        ('a: [1,\n', "Couldn't parse params file"),
    ],
)
def test_a_wrong_file_is_one_line(text: str, wrong: str, domain, tmp_path: Path) -> None:
    facts, finding = parameters(tmp_path, text)
    assert finding.level is Level.ERROR
    assert wrong in finding.wrong
    assert facts.params_are_wrong


def test_a_file_for_another_node(domain, tmp_path: Path) -> None:
    _, finding = parameters(tmp_path, 'other:\n  ros__parameters:\n    max_batch: 2\n')
    assert finding.level is Level.WARNING
    assert finding.wrong.startswith('it has nothing for a node called theia')


# --- transport -----------------------------------------------------------------------------------


def test_large_images_arrive_with_our_profile(domain) -> None:
    facts = Facts(environ=environ(**PROFILE))
    (finding,) = transport.images(facts)
    assert finding.level is Level.OK, finding
    assert facts.images.answer['met'] is True


@SLOW
def test_two_processes_that_may_not_find_one_another(domain) -> None:
    variables = {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'OFF', **PROFILE}
    (finding,) = transport.images(Facts(environ=environ(**variables)))
    assert finding.level is Level.WARNING
    assert finding.wrong == 'two processes on this computer do not find one another'


def segments() -> set[str]:
    return {p.name for p in Path('/dev/shm').glob('fastdds_????????????????')}


def test_the_doctor_leaves_no_shared_memory_behind(domain) -> None:
    """Others on this computer may leave some meanwhile, but not every time."""
    for _ in range(5):
        before = segments()
        facts = Facts(environ=environ(**PROFILE))
        for outcome in (facts.ros, facts.node, facts.images):
            assert outcome.failure == ''
        left = {name for name in segments() - before if is_dead(Path('/dev/shm', name))}
        if not left:
            return
    raise AssertionError(f'left behind each time, the last time {left}')


# --- the whole command ---------------------------------------------------------------------------


def test_the_whole_command(domain, tmp_path: Path) -> None:
    """With the fake, so that no model is needed."""
    out, file = tmp_path / 'doctor.json', tmp_path / 'robot.yaml'
    file.write_text(HEAD + '    backend: fake\n    model: theia-tiny-patch16-224-cddsv\n')
    command = [sys.executable, '-m', 'theia_ros.cli', 'doctor', '--params', file, '--json', out]
    done = subprocess.run(
        list(map(str, command)), env=environ(**PROFILE), capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'Traceback' not in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].endswith('the encoder node would run')
    told = json.loads(out.read_text())
    assert told['would_run'] is True
    groups = list(dict.fromkeys(f['group'] for f in told['findings']))
    assert groups == ['Python', 'ROS', 'Transport', 'GPU', 'Model', 'Engine']
    found = {f['name']: f for f in told['findings']}
    assert found['parameters']['found'] == f'{file} sets backend, model'
    assert found['engine']['found'].startswith('fake fp32 on ')
    assert found['parity']['wrong'] == 'the fake is wrong on purpose'


def test_a_wrong_parameter_file_ends_with_status_1(domain, tmp_path: Path) -> None:
    file = tmp_path / 'robot.yaml'
    file.write_text(HEAD + '    modle: x\n')
    command = [sys.executable, '-m', 'theia_ros.cli', 'doctor', '--params', file]
    done = subprocess.run(
        list(map(str, command)), env=environ(**PROFILE), capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 1
    assert "unknown parameter 'modle'" in done.stdout
    assert 'the parameter file is wrong, see above' in done.stdout
    assert 'Traceback' not in done.stdout + done.stderr
