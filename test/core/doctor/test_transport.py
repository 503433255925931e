from __future__ import annotations

from pathlib import Path

import pytest
from core.doctor.conftest import failed

from theia_ros.doctor import transport
from theia_ros.doctor.finding import Level

PROFILE = Path(__file__).parents[3] / 'config' / 'fastdds.xml'
SMALL = """<dds xmlns="http://www.eprosima.com"><profiles><transport_descriptors>
<transport_descriptor><segment_size> 524288 </segment_size></transport_descriptor>
</transport_descriptors></profiles></dds>"""


def middleware(facts, environ: dict[str, str], rmw: str = 'rmw_fastrtps_cpp'):
    (finding,) = transport.middleware(facts({'ros': {'rmw': rmw}}, environ=environ))
    return finding


def test_our_own_profile_is_good(facts) -> None:
    finding = middleware(facts, {'FASTDDS_DEFAULT_PROFILES_FILE': str(PROFILE)})
    assert finding.level is Level.OK
    assert finding.found == f'rmw_fastrtps_cpp, FASTDDS_DEFAULT_PROFILES_FILE={PROFILE}'


def test_the_default_transport_is_warned_about(facts) -> None:
    finding = middleware(facts, {})
    assert finding.level is Level.WARNING
    assert finding.wrong.startswith('it loses large images without a word')
    assert finding.cures == (f'export FASTDDS_DEFAULT_PROFILES_FILE={PROFILE}',)


def test_the_installed_profile_is_named_before_that_of_the_checkout(facts, tmp_path: Path) -> None:
    installed = tmp_path / 'share' / 'theia_ros' / 'config' / 'fastdds.xml'
    installed.parent.mkdir(parents=True)
    installed.touch()
    finding = middleware(facts, {'AMENT_PREFIX_PATH': f'/nowhere:{tmp_path}'})
    assert finding.cures == (f'export FASTDDS_DEFAULT_PROFILES_FILE={installed}',)


def test_humble_reads_another_variable(facts) -> None:
    humble = {'ROS_DISTRO': 'humble'}
    finding = middleware(facts, humble)
    assert finding.cures == (f'export FASTRTPS_DEFAULT_PROFILES_FILE={PROFILE}',)
    finding = middleware(facts, {**humble, 'FASTDDS_DEFAULT_PROFILES_FILE': str(PROFILE)})
    assert finding.wrong == 'this version of ROS reads FASTRTPS_DEFAULT_PROFILES_FILE'
    finding = middleware(facts, {**humble, 'FASTRTPS_DEFAULT_PROFILES_FILE': str(PROFILE)})
    assert finding.level is Level.OK


@pytest.mark.parametrize(
    ('text', 'wrong'),
    [
        (None, 'the file cannot be read (No such file or directory)'),
        ('<dds', 'the file is no XML'),
        (SMALL, 'its shared memory holds 0.5 MB, and an image of 1920x1080 has 6.2 MB'),
    ],
)
def test_a_profile_that_does_not_help(text, wrong: str, facts, tmp_path: Path) -> None:
    path = tmp_path / 'mine.xml'
    if text:
        path.write_text(text)
    finding = middleware(facts, {'FASTDDS_DEFAULT_PROFILES_FILE': str(path)})
    assert finding.level is Level.WARNING
    assert finding.wrong.startswith(wrong)
    assert finding.cures == (f'export FASTDDS_DEFAULT_PROFILES_FILE={PROFILE}',)


@pytest.mark.parametrize(
    ('chosen', 'reach', 'wrong'),
    [
        ('LARGE_DATA', '', ''),
        ('LARGE_DATA', 'LOCALHOST', 'do not work together'),
        ('UDPv4', '', 'loses large images'),
        ('DEFAULT', '', 'loses large images'),
    ],
)
def test_built_in_transports(chosen: str, reach: str, wrong: str, facts) -> None:
    environ = {'FASTDDS_BUILTIN_TRANSPORTS': chosen, 'ROS_AUTOMATIC_DISCOVERY_RANGE': reach}
    finding = middleware(facts, environ)
    assert wrong in finding.wrong
    assert bool(finding.wrong) is bool(wrong)


def test_settings_of_fast_dds_mean_nothing_to_others(facts) -> None:
    finding = middleware(facts, {}, 'rmw_cyclonedds_cpp')
    assert (finding.level, finding.found) == (Level.OK, 'rmw_cyclonedds_cpp')


@pytest.mark.parametrize(
    ('answer', 'level', 'wrong'),
    [
        ({'received': 10, 'sent': 10, 'met': True}, Level.OK, ''),
        ({'received': 8, 'sent': 10, 'met': True}, Level.OK, ''),
        ({'received': 7, 'sent': 10, 'met': True}, Level.WARNING, 'miss most of the images'),
        ({'received': 0, 'sent': 10, 'met': True}, Level.WARNING, 'miss most of the images'),
        ({'received': 0, 'sent': 10, 'met': False}, Level.WARNING, 'do not find one another'),
    ],
)
def test_the_trial_with_large_images(answer, level: Level, wrong: str, facts) -> None:
    (finding,) = transport.images(facts({'images': answer}))
    assert finding.level is level
    assert finding.found.startswith(f'{answer["received"]} of 10 best-effort images of 6.2 MB')
    assert wrong in finding.wrong
    assert bool(finding.cures) is (level is Level.WARNING)


def test_the_cure_of_lost_images_is_that_of_this_version_of_ros(facts) -> None:
    answer = {'received': 0, 'sent': 10, 'met': True}
    (finding,) = transport.images(facts({'images': answer}, environ={'ROS_DISTRO': 'humble'}))
    assert finding.cures == (f'export FASTRTPS_DEFAULT_PROFILES_FILE={PROFILE}',)


def test_a_trial_that_fails_is_told(facts) -> None:
    (finding,) = transport.images(facts({'images': failed('it crashed with SIGBUS')}))
    assert (finding.level, finding.wrong) == (Level.WARNING, 'it crashed with SIGBUS')


def test_without_ros_nothing_is_said_twice(facts) -> None:
    made = facts({'ros': failed("ModuleNotFoundError: No module named 'rclpy'")})
    assert list(transport.middleware(made)) == []
    assert list(transport.images(made)) == []


@pytest.mark.parametrize(
    ('environ', 'found', 'wrong'),
    [
        ({}, 'domain 0, this network', ''),
        ({'ROS_DOMAIN_ID': '7', 'ROS_LOCALHOST_ONLY': '1'}, 'domain 7, this computer only', ''),
        ({'ROS_AUTOMATIC_DISCOVERY_RANGE': 'localhost'}, 'domain 0, this computer only', ''),
        ({'ROS_DOMAIN_ID': '101'}, 'domain 101', ''),
        ({'ROS_DOMAIN_ID': '102'}, 'domain 102', 'use 0 to 101'),
        ({'ROS_DOMAIN_ID': '300'}, 'domain 300', 'use 0 to 101'),
        ({'ROS_DOMAIN_ID': '-1'}, 'domain -1', "ROS_DOMAIN_ID is '-1'; expected a number"),
        ({'ROS_AUTOMATIC_DISCOVERY_RANGE': 'OFF'}, 'domain 0, off', 'no other process is found'),
        ({'ROS_AUTOMATIC_DISCOVERY_RANGE': 'HERE'}, 'unclear', "is 'HERE'; use one of SUBNET"),
    ],
)
def test_domain_and_discovery(environ, found: str, wrong: str, facts) -> None:
    (finding,) = transport.domain(facts(environ=environ))
    assert found in finding.found
    assert wrong in finding.wrong
    assert finding.level is (Level.WARNING if wrong else Level.OK)
    assert bool(finding.cures) is bool(wrong)
