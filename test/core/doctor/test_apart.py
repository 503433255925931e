"""Real processes that crash, hang, shout or leave."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from theia_ros.doctor.apart import ask

RAISE_OURS = 'from theia_ros.errors import EngineError as E; raise E'


@pytest.fixture
def trial(tmp_path: Path):
    """Return a function that imports a module with this code, in a process of its own."""

    def run(code: str, **options):
        (tmp_path / 'broken_thing.py').write_text(code)
        environ = {**os.environ, 'PYTHONPATH': str(tmp_path)}
        return ask('module', {'name': 'broken_thing'}, environ=environ, **options)

    return run


def test_a_good_module_tells_its_version_and_place(trial, tmp_path: Path) -> None:
    outcome = trial("__version__ = '1.2'")
    expected = {'version': '1.2', 'file': str(tmp_path / 'broken_thing.py')}
    assert (outcome.answer, outcome.failure) == (expected, '')


def test_what_libraries_print_is_not_taken_for_the_answer(trial) -> None:
    outcome = trial('print(\'{"version": "9"}\'); __version__ = \'é\'')
    assert outcome.answer['version'] == 'é'


@pytest.mark.parametrize(
    ('code', 'failure'),
    [
        ("raise AttributeError('_ARRAY_API not found')", 'AttributeError: _ARRAY_API not found'),
        ("raise OSError('one\\n  two')", 'OSError: one two'),
        ('raise RuntimeError', 'RuntimeError'),
        ('import no_such_thing', "ModuleNotFoundError: No module named 'no_such_thing'"),
        ('import os, signal; os.kill(os.getpid(), signal.SIGSEGV)', 'it crashed with SIGSEGV'),
        ('import os; os.abort()', 'it crashed with SIGABRT'),
        ('import sys; sys.exit(3)', 'it ended with status 3'),
        ("import os, sys; sys.stderr.write('last words\\n\\n'); os._exit(1)", 'last words'),
        (f'{RAISE_OURS}("no such device")', 'no such device'),
    ],
)
def test_whatever_happens_is_one_line(code: str, failure: str, trial) -> None:
    outcome = trial(code)
    assert outcome.failure == failure
    assert outcome.answer == {}


def test_one_that_hangs_is_ended_with_all_that_it_started(trial, tmp_path: Path) -> None:
    pid_file = tmp_path / 'pid'
    code = (
        'import pathlib, subprocess, sys, time\n'
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f'pathlib.Path({str(pid_file)!r}).write_text(str(child.pid))\n'
        'time.sleep(600)'
    )
    outcome = trial(code, patience_s=5.0)
    assert outcome.failure == 'it gave no answer within 5 s'
    child = Path('/proc') / pid_file.read_text()
    deadline = time.monotonic() + 20
    while child.exists() and 'Z' not in (child / 'stat').read_text().split()[2]:
        assert time.monotonic() < deadline, 'the grandchild lives on'
        time.sleep(0.05)


def test_a_crash_after_the_answer_does_not_matter(trial) -> None:
    code = 'import atexit, os; atexit.register(os.abort)'
    assert trial(code).failure == ''


def test_what_it_said_is_kept(trial) -> None:
    outcome = trial("import sys; sys.stderr.write('A module that was compiled\\n'); 1 / 0")
    assert outcome.failure == 'ZeroDivisionError: division by zero'
    assert 'A module that was compiled' in outcome.said


def test_the_users_own_packages_come_first(tmp_path: Path, monkeypatch) -> None:
    """Also before a module beside our package, such as the repository's setup.py."""
    elsewhere, users = tmp_path / 'elsewhere', tmp_path / 'users'
    elsewhere.mkdir()
    users.mkdir()
    monkeypatch.chdir(elsewhere)  # Python looks there before anywhere else
    (users / 'setup.py').write_text("__version__ = 'mine'")
    outcome = ask('module', {'name': 'setup'}, environ={**os.environ, 'PYTHONPATH': str(users)})
    assert outcome.answer['version'] == 'mine'


def test_an_unknown_probe_is_a_failure_like_any_other() -> None:
    assert ask('nothing').failure == "KeyError: 'nothing'"


def test_no_process_at_all_is_a_failure_like_any_other(monkeypatch) -> None:
    monkeypatch.setattr('sys.executable', '/no/such/python')
    outcome = ask('module', {'name': 'json'})
    assert outcome.failure.startswith('no process can be started: ')
    assert '/no/such/python' in outcome.failure
