from __future__ import annotations

import pytest
from core.doctor.conftest import failed

from theia_ros.doctor import python
from theia_ros.doctor.facts import Facts
from theia_ros.doctor.finding import Level


@pytest.mark.parametrize('version', [(3, 10, 0), (3, 11, 7), (3, 14, 0)])
def test_a_python_that_is_new_enough(version, facts) -> None:
    (finding,) = python.version(facts(python=version))
    assert finding.level is Level.OK
    assert finding.found.startswith('.'.join(map(str, version)))


@pytest.mark.parametrize('version', [(3, 8, 10), (3, 9, 18), (2, 7, 18)])
def test_a_python_that_is_too_old(version, facts) -> None:
    (finding,) = python.version(facts(python=version))
    assert finding.level is Level.ERROR
    assert finding.wrong == 'theia_ros needs Python 3.10 or newer'
    assert 'THEIA_PYTHON=python3.12 scripts/setup' in finding.cures


RULES = ['numpy<3,>=1.21.5', 'torch<3,>=2.5', 'tqdm<5,>=4.57', 'openvino>=2025; extra == "cpu"']


def packages(facts, **installed: str):
    made = facts()
    made.__dict__['requirements'] = RULES
    made.installed = lambda name: installed.get(name, '')
    return list(python.packages(made))


def test_packages_within_their_limits(facts) -> None:
    (finding,) = packages(facts, numpy='1.21.5', torch='2.13.0+cpu', tqdm='4.70.1')
    assert finding.level is Level.OK
    assert finding.found == 'numpy 1.21.5, torch 2.13.0+cpu, tqdm 4.70.1'


def test_packages_beyond_them(facts) -> None:
    old, new, rest = packages(facts, numpy='1.21.4', torch='3.0.0', tqdm='4.57')
    assert (old.name, old.level, old.found) == ('numpy', Level.WARNING, '1.21.4')
    assert old.cures == ("python3 -m pip install 'numpy>=1.21.5,<3'",)
    assert (new.name, new.wrong) == ('torch', 'theia_ros was tried with >=2.5,<3 only')
    assert rest.found == 'tqdm 4.57'


def test_packages_that_are_missing(facts) -> None:
    torch, tqdm, rest = packages(facts, numpy='2.4.6')
    assert (torch.level, torch.found) == (Level.ERROR, 'not installed')
    assert torch.cures == ("python3 -m pip install 'torch>=2.5,<3'",)
    assert (tqdm.name, tqdm.level) == ('tqdm', Level.WARNING)
    assert rest.found == 'numpy 2.4.6'


def test_a_resize_that_was_compiled(facts) -> None:
    (finding,) = python.resize(facts({'resize': {'why': ''}}))
    assert (finding.level, finding.found) == (Level.OK, 'compiled; the bytes of Pillow')


@pytest.mark.parametrize(
    ('answer', 'found', 'wrong'),
    [
        ({'why': 'there is no compiler'}, 'by Pillow', 'there is no compiler'),
        (failed('it crashed with SIGILL'), 'not known', 'it crashed with SIGILL'),
    ],
)
def test_a_resize_that_was_not(answer, found: str, wrong: str, facts) -> None:
    (finding,) = python.resize(facts({'resize': answer}))
    assert (finding.level, finding.found, finding.wrong) == (Level.WARNING, found, wrong)
    assert finding.cures[0].startswith('sudo apt install gcc, install theia_ros again')


def test_the_real_resize() -> None:
    (finding,) = python.resize(Facts())
    assert finding.level is Level.OK, finding


@pytest.mark.parametrize(
    ('version', 'rule', 'expected'),
    [
        ('2.10.0', 'x>=2.9', True),
        ('2.9.1', 'x>=2.10', False),
        ('3.0', 'x<3', False),
        ('2.99.9', 'x<3', True),
        ('2.5.0a0+872d972e41.nv24.08', 'x<3,>=2.5', True),
        ('26.1', 'x', True),
    ],
)
def test_versions_are_compared_as_numbers(version: str, rule: str, expected: bool) -> None:
    assert python.fits(version, rule) is expected


def test_without_metadata_nothing_is_compared(facts) -> None:
    made = facts()
    made.__dict__['requirements'] = []
    (finding,) = python.packages(made)
    assert (finding.level, 'not compared' in finding.found) == (Level.OK, True)


def test_the_real_requirements_are_read() -> None:
    found = Facts().requirements
    assert any(rule.startswith('torch') for rule in found)
