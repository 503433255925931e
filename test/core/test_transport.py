from __future__ import annotations

import pytest

from theia_ros import transport


@pytest.mark.parametrize(
    'variable',
    [
        'FASTDDS_BUILTIN_TRANSPORTS',
        'FASTDDS_DEFAULT_PROFILES_FILE',
        'FASTRTPS_DEFAULT_PROFILES_FILE',
    ],
)
def test_every_way_to_choose_is_seen(variable: str) -> None:
    assert transport.is_chosen({variable: 'mine', 'ROS_DISTRO': 'kilted'})
    assert not transport.is_chosen({variable: '', 'ROS_DISTRO': 'kilted'})


@pytest.mark.parametrize(
    ('environ', 'variable'),
    [
        ({'ROS_DISTRO': 'humble'}, 'FASTRTPS_DEFAULT_PROFILES_FILE'),
        ({'ROS_DISTRO': 'jazzy'}, 'FASTDDS_DEFAULT_PROFILES_FILE'),
        ({}, 'FASTDDS_DEFAULT_PROFILES_FILE'),
    ],
)
def test_humble_knows_the_old_name_of_the_profile_only(environ, variable: str) -> None:
    assert transport.profile_variable(environ) == variable
