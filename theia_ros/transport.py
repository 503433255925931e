"""The variables by which a transport of Fast DDS is chosen."""

from __future__ import annotations

from collections.abc import Mapping

BUILTIN = 'FASTDDS_BUILTIN_TRANSPORTS'
"""Names transports that Fast DDS brings, such as LARGE_DATA."""
PROFILE, HUMBLE_PROFILE = 'FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE'
"""Name a file such as `config/fastdds.xml`; Humble knows the second only."""
VARIABLES = (BUILTIN, PROFILE, HUMBLE_PROFILE)


def is_chosen(environ: Mapping[str, str]) -> bool:
    """Tell whether somebody has chosen a transport, which is to stay then."""
    return any(environ.get(name) for name in VARIABLES)


def profile_variable(environ: Mapping[str, str]) -> str:
    """Return the variable by which this version of ROS is given a file of transports."""
    return HUMBLE_PROFILE if environ.get('ROS_DISTRO') == 'humble' else PROFILE
