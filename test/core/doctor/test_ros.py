from __future__ import annotations

import sys
from pathlib import Path

import pytest
from core.doctor.conftest import failed

from theia_ros.doctor import ros
from theia_ros.doctor.facts import Request
from theia_ros.doctor.finding import Level
from theia_ros.doctor.messages import FIELDS

BUILT = {'fields': FIELDS, 'file': '/ws/install/theia_msgs/__init__.py'}
NO_RCLPY = failed("ModuleNotFoundError: No module named 'rclpy'")


def test_ros_that_starts(facts) -> None:
    (finding,) = ros.rclpy(facts(environ={'ROS_DISTRO': 'jazzy'}))
    assert finding.level is Level.OK
    assert finding.found == 'jazzy, /opt/ros/jazzy/rclpy/__init__.py'


def test_a_distribution_that_is_not_known(facts) -> None:
    (finding,) = ros.rclpy(facts(environ={'ROS_DISTRO': 'foxy'}))
    assert finding.level is Level.WARNING
    assert finding.wrong == 'theia_ros is made for humble, jazzy, kilted'


def test_missing_rclpy_names_what_can_be_sourced(facts, tmp_path: Path) -> None:
    for distro in ('humble', 'jazzy'):
        (tmp_path / distro).mkdir()
        (tmp_path / distro / 'setup.bash').touch()
    (finding,) = ros.rclpy(facts({'ros': NO_RCLPY}, ros_folder=tmp_path))
    assert (finding.level, finding.found) == (Level.ERROR, 'ROS_DISTRO is not set')
    assert finding.wrong == 'rclpy cannot be imported: no ROS 2 is sourced'
    assert finding.cures == (
        f'source {tmp_path}/humble/setup.bash',
        f'source {tmp_path}/jazzy/setup.bash',
    )


def test_without_any_ros_the_wheels_are_offered(facts) -> None:
    (finding,) = ros.rclpy(facts({'ros': NO_RCLPY}))
    (cure,) = finding.cures
    assert cure.endswith('/scripts/env.sh')
    assert '/scripts/setup && source ' in cure


def test_an_rclpy_for_another_python_says_for_which(facts, tmp_path: Path, monkeypatch) -> None:
    package = tmp_path / 'rclpy'
    package.mkdir()
    (package / '__init__.py').touch()
    (package / '_rclpy_pybind11.cpython-310-x86_64-linux-gnu.so').touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'rclpy', raising=False)  # earlier tests may have it
    outcome = failed("ModuleNotFoundError: No module named 'rclpy._rclpy_pybind11'")
    (finding,) = ros.rclpy(facts({'ros': outcome}, python=(3, 12, 3)))
    assert finding.wrong == 'this rclpy was built for Python 3.10; this is 3.12'


@pytest.mark.parametrize(
    ('failure', 'wrong', 'cure'),
    [
        (
            "[ERROR] [1795764978.3] [rcl]: Expected RMW implementation identifier of 'rmw_x' but "
            "instead found 'rmw_y', exiting with 102., at /a/b.c:154",
            "ROS does not start: Expected RMW implementation identifier of 'rmw_x' but instead "
            "found 'rmw_y', exiting with 102.",
            'unset RMW_IMPLEMENTATION',
        ),
        (
            'RCLError: failed to initialize rcl: ROS_DOMAIN_ID is not an integral number, at '
            '/project/src/rcl/domain_id.c:49',
            'ROS does not start: RCLError: failed to initialize rcl: ROS_DOMAIN_ID is not an '
            'integral number',
            'export ROS_DOMAIN_ID=0',
        ),
        (
            'RCLError: Failed to get logging directory',
            'ROS does not start: RCLError: Failed to get logging directory',
            'export ROS_LOG_DIR=/tmp/ros_log',
        ),
        ('it crashed with SIGSEGV', 'ROS does not start: it crashed with SIGSEGV', 'see docs'),
    ],
)
def test_a_ros_that_does_not_start(failure: str, wrong: str, cure: str, facts) -> None:
    (finding,) = ros.rclpy(facts({'ros': failed(failure)}))
    assert (finding.level, finding.wrong) == (Level.ERROR, wrong)
    assert any(c.startswith(cure) for c in finding.cures)


def test_messages_as_they_should_be(facts) -> None:
    (finding,) = ros.messages(facts({'messages': BUILT}))
    assert finding.level is Level.OK
    assert finding.found == '6 messages as they should be, /ws/install/theia_msgs'


def without(message: str, field: str) -> dict:
    return {**FIELDS, message: {k: v for k, v in FIELDS[message].items() if k != field}}


@pytest.mark.parametrize(
    ('fields', 'wrong'),
    [
        (without('FeatureTensor', 'region'), 'FeatureTensor lacks region'),
        (
            {**FIELDS, 'TensorInfo': {**FIELDS['TensorInfo'], 'unit': 'string'}},
            'TensorInfo has also unit',
        ),
        (
            {**FIELDS, 'FeatureTensor': {**FIELDS['FeatureTensor'], 'dtype': 'string'}},
            'FeatureTensor has another type of dtype',
        ),
        ({k: v for k, v in FIELDS.items() if k != 'Latency'}, 'Latency is missing'),
        (
            {**FIELDS, 'Latency': dict(reversed(FIELDS['Latency'].items()))},
            'Latency has its fields in another order',
        ),
    ],
)
def test_messages_of_another_version(fields, wrong: str, facts) -> None:
    (finding,) = ros.messages(facts({'messages': {**BUILT, 'fields': fields}}))
    assert finding.level is Level.ERROR
    assert finding.wrong == f'these are of another version: {wrong}'
    assert finding.cures[0].startswith('colcon build --packages-select theia_ros')


def test_messages_that_are_not_built(facts) -> None:
    outcome = failed("ModuleNotFoundError: No module named 'theia_msgs'")
    (finding,) = ros.messages(facts({'messages': outcome}))
    assert finding.level is Level.ERROR
    assert finding.wrong == 'they are not built, or their workspace is not sourced'


def cv_bridge(facts, outcome):
    (finding,) = ros.cv_bridge(facts({'cv_bridge': outcome}))
    return finding


def test_cv_bridge_that_works_or_is_not_there(facts) -> None:
    finding = cv_bridge(facts, {'numpy': '1.26.4'})
    assert (finding.level, finding.found) == (Level.OK, 'works with numpy 1.26.4')
    finding = cv_bridge(facts, failed("ModuleNotFoundError: No module named 'cv_bridge'"))
    assert finding.level is Level.OK


@pytest.mark.parametrize(
    'outcome',
    [
        failed('AttributeError: _ARRAY_API not found'),
        failed('ImportError: numpy.core.multiarray failed to import'),
        failed('it crashed with SIGSEGV', 'A module that was compiled using NumPy 1.x cannot'),
        failed('ValueError: numpy.dtype size changed, may indicate binary incompatibility.'),
    ],
)
def test_cv_bridge_for_another_numpy_is_a_warning_only(outcome, facts) -> None:
    finding = cv_bridge(facts, outcome)
    assert finding.level is Level.WARNING
    assert finding.wrong.startswith('it was compiled for another major version of numpy than ')
    assert finding.cures[0] == "python3 -m pip install 'numpy<2'"


def test_cv_bridge_that_is_broken_otherwise(facts) -> None:
    finding = cv_bridge(facts, failed("AttributeError: module 'cv2' has no attribute 'CV_8U'"))
    assert finding.level is Level.WARNING
    assert finding.wrong.startswith("AttributeError: module 'cv2' has no attribute 'CV_8U'; costs")
    assert len(finding.cures) == 1


@pytest.mark.parametrize(
    ('outcome', 'level', 'found'),
    [
        ({'version': '4.6.0', 'file': ''}, Level.OK, '4.6.0'),
        (failed("ModuleNotFoundError: No module named 'cv2'"), Level.WARNING, 'not installed'),
        (failed('ImportError: libGL.so.1'), Level.WARNING, 'broken: ImportError: libGL.so.1'),
    ],
)
def test_opencv(outcome, level: Level, found: str, facts) -> None:
    (finding,) = ros.opencv(facts({'module': outcome}))
    assert (finding.level, finding.found) == (level, found)


def node(facts, outcome, file: str | None = None, **answers):
    request = Request(params_file=Path(file) if file else None)
    known = {'messages': BUILT, 'node': outcome, **answers}
    return list(ros.node(facts(known, request=request)))


def test_a_node_that_starts(facts) -> None:
    (finding,) = node(facts, {'params': {}, 'given': []})
    assert (finding.name, finding.level, finding.found) == ('encoder_node', Level.OK, 'starts')


def test_a_node_that_does_not_start(facts) -> None:
    (finding,) = node(facts, failed("ImportError: cannot import name 'EncoderInfo'"))
    assert (finding.name, finding.level) == ('encoder_node', Level.ERROR)


def test_a_parameter_file(facts) -> None:
    answer = {'params': {}, 'given': ['cameras', 'model']}
    (finding,) = node(facts, answer, 'robot.yaml')
    assert (finding.level, finding.found) == (Level.OK, 'robot.yaml sets cameras, model')
    (finding,) = node(facts, {'params': {}, 'given': []}, 'robot.yaml')
    assert finding.level is Level.WARNING
    assert finding.wrong.startswith('it has nothing for a node called theia')
    (finding,) = node(facts, failed("unknown parameter 'modle'; known: model"), 'robot.yaml')
    assert (finding.level, finding.found) == (Level.ERROR, 'robot.yaml')
    assert finding.wrong == "unknown parameter 'modle'; known: model"


def test_what_was_said_already_is_not_said_again(facts) -> None:
    assert node(facts, NO_RCLPY, ros=NO_RCLPY) == []
    assert node(facts, NO_RCLPY, messages=failed('not built')) == []
