"""What `theia-ros view` says about a user's mistake; what it shows is in test/ros/test_view.py."""

from __future__ import annotations

import subprocess
import sys

import pytest

from theia_ros.cli import main


@pytest.mark.parametrize(
    ('arguments', 'line'),
    [
        pytest.param(['--rate', '0'], '--rate is 0.0; use more than 0', id='rate'),
        pytest.param(['--rate', 'inf'], '--rate is inf; use more than 0', id='rate-inf'),
        pytest.param(['--width', '3'], '--width is 3; use 16 to 8192', id='width'),
        pytest.param(['--port', '70000'], '--port is 70000; use 0 to 65535', id='port'),
        pytest.param(
            ['--host', ''], '--host is empty; use an address, or 0.0.0.0 for all', id='host'
        ),
        pytest.param(
            ['--node', 'theia'], "--node is 'theia'; use the full name, such as /theia", id='node'
        ),
    ],
)
def test_senseless_arguments_are_one_line(capsys, arguments, line) -> None:
    assert main(['view', *arguments]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == ('', f'theia-ros view: {line}\n')


@pytest.mark.parametrize(
    ('missing', 'cure'),
    [
        ('aiohttp', 'pip install "aiohttp>=3.8,<4"'),
        ('rclpy', 'run scripts/setup and source scripts/env.sh'),
        ('theia_msgs', 'run scripts/setup and source scripts/env.sh'),
    ],
)
def test_missing_package_is_one_line_with_the_cure(missing, cure) -> None:
    code = (
        f'import sys; sys.modules[{missing!r}] = None\n'
        "from theia_ros.cli import main; sys.exit(main(['view', '--port', '0']))"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)

    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith('theia-ros view: view needs ')
    assert missing in line
    assert cure in line
