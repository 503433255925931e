"""The way of messages between processes: middleware, its settings, a trial with images."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from xml.etree import ElementTree

from theia_ros.doctor.apart import ROOT
from theia_ros.doctor.facts import Facts
from theia_ros.doctor.finding import Finding
from theia_ros.doctor.finding import ok
from theia_ros.doctor.finding import warning
from theia_ros.transport import BUILTIN
from theia_ros.transport import HUMBLE_PROFILE
from theia_ros.transport import PROFILE
from theia_ros.transport import profile_variable

_LARGE_BYTES = 6_220_800
_RANGES = ('SUBNET', 'LOCALHOST', 'OFF', 'SYSTEM_DEFAULT')
# Ports of a domain begin at 7400 + 250 * domain; the kernel gives those from 32768 to 60999 away.
_SAFE_DOMAINS = (*range(102), *range(215, 233))


def middleware(facts: Facts) -> Iterator[Finding]:
    """Tell the middleware, and whether its settings let large best-effort images through."""
    if facts.ros.failure:
        return  # said already
    rmw = facts.ros.answer['rmw']
    if 'fastrtps' not in rmw:
        yield ok('middleware', rmw)
        return
    variable, cure = profile_variable(facts.environ), _choose_ours(facts)
    named = next((v for v in (variable, HUMBLE_PROFILE, PROFILE) if facts.environ.get(v)), '')
    if named:
        yield _with_profile(rmw, named, Path(facts.environ[named]), variable, cure)
    elif chosen := facts.environ.get(BUILTIN):
        yield _with_builtin(facts, rmw, chosen, cure)
    else:
        yield warning(
            'middleware',
            f'{rmw}, default transport',
            'it loses large images without a word; encoder.launch.py and scripts/env.sh choose a '
            'better one, but what you start from this shell has none',
            cure,
        )


def _with_profile(rmw: str, named: str, path: Path, variable: str, cure: str) -> Finding:
    found = f'{rmw}, {named}={path}'
    if named != variable:
        return warning('middleware', found, f'this version of ROS reads {variable}', cure)
    try:
        tree = ElementTree.parse(path)
    except OSError as exc:
        wrong = f'the file cannot be read ({exc.strerror}), and Fast DDS goes on without it'
        return warning('middleware', found, wrong, cure)
    except ElementTree.ParseError as exc:
        wrong = f'the file is no XML ({exc}), and Fast DDS goes on without it'
        return warning('middleware', found, wrong, cure)
    sizes = [
        int(text)
        for element in tree.iter()
        if element.tag.rpartition('}')[2] == 'segment_size'
        and (text := (element.text or '').strip()).isdigit()
    ]
    if sizes and max(sizes) < _LARGE_BYTES:
        wrong = (
            f'its shared memory holds {max(sizes) / 1e6:.1f} MB, and an image of 1920x1080 has '
            f'{_LARGE_BYTES / 1e6:.1f} MB'
        )
        return warning('middleware', found, wrong, cure)
    return ok('middleware', found)


def _with_builtin(facts: Facts, rmw: str, chosen: str, cure: str) -> Finding:
    found = f'{rmw}, {BUILTIN}={chosen}'
    at_home = facts.environ.get('ROS_AUTOMATIC_DISCOVERY_RANGE', '').upper() == 'LOCALHOST'
    if chosen.startswith('LARGE_DATA') and at_home:
        wrong = 'LARGE_DATA and ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST do not work together'
        return warning('middleware', found, wrong, f'unset {BUILTIN}; {cure}')
    if chosen.startswith(('LARGE_DATA', 'SHM')):
        return ok('middleware', found)
    wrong = 'it loses large images without a word'
    return warning('middleware', found, wrong, f'unset {BUILTIN}; {cure}')


def _choose_ours(facts: Facts) -> str:
    """Return the command that gives Fast DDS our own settings."""
    here = Path('config', 'fastdds.xml')
    prefixes = [Path(p) for p in facts.environ.get('AMENT_PREFIX_PATH', '').split(':') if p]
    places = [prefix / 'share' / 'theia_ros' / here for prefix in prefixes]
    places.append(ROOT / here)
    found = next((path for path in places if path.is_file()), None)
    installed = f'$(ros2 pkg prefix theia_ros)/share/theia_ros/{here}'
    return f'export {profile_variable(facts.environ)}={quote(str(found)) if found else installed}'


def images(facts: Facts) -> Iterator[Finding]:
    """Send best-effort images of 1920x1080 from one process to another, as cameras do."""
    if facts.ros.failure:
        return  # said already
    if facts.images.failure:
        yield warning('large images', 'not tried', facts.images.failure)
        return
    received, sent = facts.images.answer['received'], facts.images.answer['sent']
    found = f'{received} of {sent} best-effort images of 6.2 MB arrived in another process'
    if not facts.images.answer['met']:
        yield warning(
            'large images',
            found,
            'two processes on this computer do not find one another',
            'unset ROS_AUTOMATIC_DISCOVERY_RANGE ROS_DISCOVERY_SERVER ROS_STATIC_PEERS',
            *(['ros2 run rmw_zenoh_cpp rmw_zenohd'] if 'zenoh' in facts.ros.answer['rmw'] else []),
        )
    elif received < 0.8 * sent:
        yield warning(
            'large images',
            found,
            'the node would miss most of the images of such a camera; the lines above say why',
            _choose_ours(facts),
        )
    else:
        yield ok('large images', found)


def domain(facts: Facts) -> Iterator[Finding]:
    """Look at the domain and at how far discovery reaches."""
    text = facts.environ.get('ROS_DOMAIN_ID', '')
    reach, reach_wrong = _reach(facts)
    found = f'domain {text or "0"}, {reach}'
    if text and not re.fullmatch(r'\d+', text):
        wrong = f'ROS_DOMAIN_ID is {text!r}; expected a number'
        yield warning('discovery', found, wrong, 'export ROS_DOMAIN_ID=0')
    elif text and int(text) not in _SAFE_DOMAINS:
        wrong = 'the ports of this domain may be taken by other programs; use 0 to 101'
        yield warning('discovery', found, wrong, 'export ROS_DOMAIN_ID=0')
    elif reach_wrong:
        yield warning('discovery', found, reach_wrong, 'unset ROS_AUTOMATIC_DISCOVERY_RANGE')
    else:
        yield ok('discovery', found)


def _reach(facts: Facts) -> tuple[str, str]:
    """Return how far discovery reaches, and what is wrong with it."""
    wanted = facts.environ.get('ROS_AUTOMATIC_DISCOVERY_RANGE', '').upper()
    if facts.environ.get('ROS_LOCALHOST_ONLY') == '1':
        return 'this computer only (ROS_LOCALHOST_ONLY=1)', ''
    if wanted == 'LOCALHOST':
        return 'this computer only (ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST)', ''
    if wanted == 'OFF':
        return 'off', 'ROS_AUTOMATIC_DISCOVERY_RANGE=OFF: no other process is found'
    if wanted and wanted not in _RANGES:
        known = ', '.join(_RANGES)
        return 'unclear', f'ROS_AUTOMATIC_DISCOVERY_RANGE is {wanted!r}; use one of {known}'
    return 'this network', ''
