"""ROS 2: rclpy, the messages, the node, and what it uses where it is there."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path

from theia_ros.doctor.apart import ROOT
from theia_ros.doctor.facts import Facts
from theia_ros.doctor.finding import error
from theia_ros.doctor.finding import Finding
from theia_ros.doctor.finding import ok
from theia_ros.doctor.finding import warning
from theia_ros.doctor.messages import FIELDS

_BUILD = 'colcon build --packages-select theia_ros && source install/setup.bash'
_KNOWN_DISTROS = ('humble', 'jazzy', 'kilted', 'lyrical', 'rolling')


def rclpy(facts: Facts) -> Iterator[Finding]:
    """Start ROS as every node does."""
    distro = facts.environ.get('ROS_DISTRO', '')
    if failure := facts.ros.failure:
        wrong, cures = _why(facts, failure)
        yield error('rclpy', distro or 'ROS_DISTRO is not set', wrong, *cures)
        return
    found = f'{distro or "from wheels"}, {facts.ros.answer["file"]}'
    if distro and distro not in _KNOWN_DISTROS:
        tried = ', '.join(_KNOWN_DISTROS[:-2])
        yield warning('rclpy', found, f'theia_ros is made for {tried}', 'see docs/install.md')
    else:
        yield ok('rclpy', found)


def _why(facts: Facts, failure: str) -> tuple[str, tuple[str, ...]]:
    """Say what a failure of ROS means, and what cures it."""
    if re.search(r"No module named 'rclpy'$", failure):
        return 'rclpy cannot be imported: no ROS 2 is sourced', _sources(facts)
    if '_rclpy_pybind11' in failure:
        tags = ', '.join(_pythons('rclpy', '_rclpy_pybind11')) or 'another version'
        ours = '.'.join(map(str, facts.python[:2]))
        return (
            f'this rclpy was built for Python {tags}; this is {ours}',
            ('use the Python of your ROS: /usr/bin/python3 where ROS comes from apt',),
        )
    failure, text = _short(failure), f'{failure} {facts.ros.said}'
    for pattern, cures in (
        (
            r'RMW|rmw_implementation|librmw',
            (
                'sudo apt install ros-$ROS_DISTRO-${RMW_IMPLEMENTATION//_/-}',
                'unset RMW_IMPLEMENTATION',
            ),
        ),
        (r'ROS_DOMAIN_ID|domain id', ('export ROS_DOMAIN_ID=0',)),
        (r'log(ging)? dir|HOME', ('export ROS_LOG_DIR=/tmp/ros_log',)),
    ):
        if re.search(pattern, text):
            return f'ROS does not start: {failure}', cures
    return f'ROS does not start: {failure}', ('see docs/install.md',)


def _short(failure: str) -> str:
    """Return what ROS says without the time, and without places in its own code."""
    return re.sub(r'^\[\w+\] \[[\d.]+\] \[[\w.]+\]: |, at /\S+:\d+', '', failure)


def _sources(facts: Facts) -> tuple[str, ...]:
    """Return the commands that bring ROS into this shell."""
    found = sorted(facts.ros_folder.glob('*/setup.bash'))
    if found:
        return tuple(f'source {path}' for path in found)
    if (ROOT / 'scripts' / 'setup').is_file():
        return (f'{ROOT}/scripts/setup && source {ROOT}/scripts/env.sh',)
    return ('install ROS 2, see docs/install.md',)


def _pythons(package: str, module: str) -> list[str]:
    """Return the versions of Python that a compiled module is there for, without importing it."""
    spec = importlib.util.find_spec(package)
    folders = [Path(place) for place in (spec and spec.submodule_search_locations) or ()]
    names = ' '.join(path.name for folder in folders for path in folder.glob(f'{module}*.so'))
    return [f'{major}.{minor}' for major, minor in re.findall(r'cpython-(\d)(\d+)', names)]


def messages(facts: Facts) -> Iterator[Finding]:
    """Compare the messages that were built with those of this version of theia_ros."""
    if failure := facts.messages.failure:
        missing = "No module named 'theia_msgs'" in failure
        wrong = 'they are not built, or their workspace is not sourced' if missing else failure
        yield error('theia_msgs', 'not usable', wrong, *_builds())
        return
    found = facts.messages.answer['fields']
    where = Path(facts.messages.answer['file']).parent
    differing = [line for name in FIELDS if (line := _difference(name, found.get(name)))]
    if differing:
        wrong = f'these are of another version: {"; ".join(differing)}'
        yield error('theia_msgs', str(where), wrong, *_builds())
    else:
        yield ok('theia_msgs', f'{len(FIELDS)} messages as they should be, {where}')


def _difference(name: str, found: Mapping[str, str] | None) -> str:
    """Return how a message that was built differs from ours; empty if it does not."""
    ours = FIELDS[name]
    if found is None:
        return f'{name} is missing'
    differing = {
        'lacks': sorted(set(ours) - set(found)),
        'has also': sorted(set(found) - set(ours)),
        'has another type of': [f for f in ours if f in found and found[f] != ours[f]],
    }
    if told := [f'{how} {", ".join(fields)}' for how, fields in differing.items() if fields]:
        return f'{name} {", ".join(told)}'
    return '' if list(found) == list(ours) else f'{name} has its fields in another order'


def _builds() -> tuple[str, ...]:
    """Return the commands that build the messages."""
    if (ROOT / 'scripts' / 'setup').is_file():
        return (_BUILD, f'{ROOT}/scripts/setup && source {ROOT}/scripts/env.sh')
    return (_BUILD,)


def cv_bridge(facts: Facts) -> Iterator[Finding]:
    """Use cv_bridge, which is asked only for encodings that theia_ros does not know itself."""
    outcome = facts.cv_bridge
    if not outcome.failure:
        yield ok('cv_bridge', f'works with numpy {outcome.answer["numpy"]}')
        return
    if "No module named 'cv_bridge'" in outcome.failure:
        yield ok('cv_bridge', 'not installed, and not needed for the usual encodings')
        return
    said = f'{outcome.failure} {outcome.said}'
    numpy = facts.installed('numpy')
    if re.search(r'_ARRAY_API|NumPy 1\.x|multiarray|numpy\.dtype size', said):
        wrong = f'it was compiled for another major version of numpy than {numpy}'
        cures = ["python3 -m pip install 'numpy<2'"]
    else:
        wrong, cures = outcome.failure, []
    yield warning(
        'cv_bridge',
        'installed, but broken',
        f'{wrong}; costs only images in encodings that theia_ros does not know itself',
        *cures,
        'sudo apt install --reinstall ros-$ROS_DISTRO-cv-bridge',
    )


def opencv(facts: Facts) -> Iterator[Finding]:
    """Import OpenCV, which turns Bayer and YUV images into colours."""
    if not facts.opencv.failure:
        yield ok('OpenCV', facts.opencv.answer['version'])
        return
    missing = "No module named 'cv2'" in facts.opencv.failure
    yield warning(
        'OpenCV',
        'not installed' if missing else f'broken: {facts.opencv.failure}',
        'images in bayer_*, yuv422, nv12 and nv21 cannot be used',
        'sudo apt install python3-opencv',
        "python3 -m pip install 'theia_ros[opencv]'",
    )


def node(facts: Facts) -> Iterator[Finding]:
    """Make the node, with the parameter file if there is one."""
    file = facts.request.params_file
    if facts.ros.failure or facts.messages.failure:
        return  # said already
    if failure := _short(facts.node.failure):
        cures = ('see "Parameters" in docs/node.md, and config/theia.yaml',) if file else ()
        name, found = ('parameters', str(file)) if file else ('encoder_node', 'does not start')
        yield error(name, found, failure, *cures)
        return
    if not file:
        yield ok('encoder_node', 'starts')
    elif not facts.node.answer['given']:
        yield warning(
            'parameters',
            str(file),
            'it has nothing for a node called theia: the node would take its defaults',
            'begin the file with /**: and ros__parameters: as config/theia.yaml does',
        )
    else:
        yield ok('parameters', f'{file} sets {", ".join(facts.node.answer["given"])}')
