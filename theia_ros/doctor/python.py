"""Python, and the packages that theia_ros asks for."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from theia_ros.doctor.facts import Facts
from theia_ros.doctor.finding import error
from theia_ros.doctor.finding import Finding
from theia_ros.doctor.finding import ok
from theia_ros.doctor.finding import warning

OLDEST = (3, 10)
# Only the commands show progress; the node does without.
_NOT_FOR_THE_NODE = ('tqdm',)

_NAME = re.compile(r'[A-Za-z0-9][\w.-]*')
_RULE = re.compile(r'(>=|<)\s*([\d.]+)')


def version(facts: Facts) -> Iterator[Finding]:
    """Compare the version of Python with the oldest that theia_ros runs on."""
    found = f'{".".join(map(str, facts.python))}, {sys.executable}'
    if facts.python >= OLDEST:
        yield ok('Python', found)
        return
    yield error(
        'Python',
        found,
        f'theia_ros needs Python {OLDEST[0]}.{OLDEST[1]} or newer',
        'THEIA_PYTHON=python3.12 scripts/setup',
        'use Ubuntu 22.04 with ROS 2 Humble, or newer ones',
    )


def packages(facts: Facts) -> Iterator[Finding]:
    """Compare what is installed with what theia_ros asks for."""
    rules = [rule for rule in facts.requirements if rule and 'extra ==' not in rule]
    if not rules:
        yield ok('packages', 'not compared: theia_ros is not installed by pip or colcon')
        return
    good = []
    for rule in rules:
        name = _NAME.findall(rule)[0]
        found = facts.installed(name)
        limits = ','.join(f'{sign}{number}' for sign, number in sorted(_RULE.findall(rule))[::-1])
        cure = f"python3 -m pip install '{name}{limits}'"
        if found and fits(found, rule):
            good.append(f'{name} {found}')
        elif found:
            yield warning(name, found, f'theia_ros was tried with {limits} only', cure)
        elif name in _NOT_FOR_THE_NODE:
            yield warning(name, 'not installed', 'the commands of theia-ros need it', cure)
        else:
            yield error(name, 'not installed', 'the node needs it', cure)
    if good:
        yield ok('packages', ', '.join(good))


def resize(facts: Facts) -> Iterator[Finding]:
    """Tell whether pictures are resized by the compiled loops, or by Pillow."""
    outcome = facts.ask('resize')
    cure = 'sudo apt install gcc, install theia_ros again, and see what that says of resize.c'
    if outcome.failure:
        yield warning('resize', 'not known', outcome.failure, cure)
    elif outcome.answer['why']:
        yield warning('resize', 'by Pillow', outcome.answer['why'], cure)
    else:
        yield ok('resize', 'compiled; the bytes of Pillow')


def fits(found: str, rule: str) -> bool:
    """Return whether a version is within a rule such as `numpy<3,>=1.21.5`."""
    for sign, number in _RULE.findall(rule):
        ours, limit = _numbers(found), _numbers(number)
        if (sign == '>=' and ours < limit) or (sign == '<' and ours >= limit):
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, without zeros at the end."""
    found = re.match(r'\d+(\.\d+)*', version)
    numbers = [int(part) for part in found[0].split('.')] if found else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
