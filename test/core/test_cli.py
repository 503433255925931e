from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

import theia_ros
from theia_ros import cli
from theia_ros.commands import COMMANDS
from theia_ros.errors import ParameterError


def ended(*arguments: str) -> object:
    """Run the command and return the status that it exits with."""
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    return caught.value.code


@pytest.mark.parametrize('name', COMMANDS)
def test_each_command_tells_its_help_with_examples(name: str, capsys) -> None:
    assert ended(name, '--help') == 0
    said = capsys.readouterr().out
    assert said.startswith(f'usage: theia-ros {name} ')
    assert COMMANDS[name].EXAMPLES in said
    assert f'theia-ros {name}' in COMMANDS[name].EXAMPLES


def test_the_list_of_commands_has_each_in_a_line(capsys) -> None:
    assert ended('--help') == 0
    said = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert any(line.split()[:1] == [name] for line in said.splitlines())
        assert command.HELP.split()[0] in said


def test_the_version_is_told(capsys) -> None:
    assert ended('--version') == 0
    assert capsys.readouterr().out == f'{theia_ros.__version__}\n'


@pytest.mark.parametrize('arguments', [[], ['magic']])
def test_what_is_no_command_ends_with_status_2(arguments: list[str], capsys) -> None:
    assert ended(*arguments) == 2
    assert capsys.readouterr().err.startswith('usage: theia-ros ')


@pytest.mark.parametrize(
    ('error', 'status', 'said'),
    [
        (ParameterError('no such thing; use another'), 2, 'no such thing; use another'),
        (KeyboardInterrupt(), 130, 'stopped'),
        (MemoryError('Unable to allocate 3 GB'), 2, 'the memory is full: Unable to allocate 3 GB'),
        (MemoryError(), 2, 'the memory is full'),
    ],
    ids=['mistake', 'ctrl-c', 'memory', 'memory without words'],
)
def test_how_a_command_ends_is_one_line(error, status, said, monkeypatch, capsys) -> None:
    def run(args: object) -> int:
        raise error

    trial = SimpleNamespace(HELP='Try.', EXAMPLES='', add_arguments=lambda parser: None, run=run)
    monkeypatch.setitem(COMMANDS, 'trial', trial)
    assert cli.main(['trial']) == status
    assert capsys.readouterr() == ('', f'theia-ros trial: {said}\n')


def test_a_python_that_cannot_read_the_commands_is_told(monkeypatch, capsys) -> None:
    old = SimpleNamespace(version_info=(3, 8, 10), stderr=sys.stderr)
    monkeypatch.setattr(cli, 'sys', old)
    assert cli.main(['doctor']) == 2
    expected = 'theia-ros: expected Python 3.10 or newer, found 3.8.10\n'
    assert capsys.readouterr() == ('', expected)
