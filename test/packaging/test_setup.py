"""`scripts/setup` returns at once when done, and says in one line what it cannot do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.packaging

# What scripts/setup calls, less Python and the compiler.
TOOLS = [
    *('bash', 'cat', 'cmake', 'dirname', 'find', 'flock', 'grep', 'ln', 'mkdir', 'ninja', 'rm'),
    *('sha256sum', 'sleep', 'tail', 'touch', 'uname'),
]


@pytest.fixture
def project(tmp_path):
    """Make a project in which a set-up can go wrong without harm."""
    folder = tmp_path / 'project'
    shutil.copytree(ROOT / 'scripts', folder / 'scripts')
    shutil.copytree(ROOT / 'msg', folder / 'msg')
    for name in ('setup.cfg', 'setup.py', 'package.xml'):
        shutil.copy(ROOT / name, folder)
    (folder / 'theia_ros').mkdir()
    shutil.copy(ROOT / 'theia_ros' / 'resize.c', folder / 'theia_ros')
    return folder


@pytest.fixture
def tools(tmp_path):
    """Make a folder for PATH that holds exactly what a test puts there."""
    folder = tmp_path / 'bin'
    folder.mkdir()

    def add(*names):
        for name in names:
            if found := shutil.which(name):
                (folder / name).symlink_to(found)
        return folder

    add(*TOOLS)
    return add


def base_python():
    # Without the virtual environment that the tests run in.
    return os.path.realpath(sys._base_executable)


def run_setup(folder, path, **variables):
    return subprocess.run(
        [shutil.which('bash'), folder / 'scripts' / 'setup'],
        env={'PATH': str(path), 'HOME': os.environ.get('HOME', '/'), **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def assert_one_line(done, *parts):
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith('scripts/setup: ')
    for part in parts:
        assert part in lines[0]


def test_second_run_does_nothing():
    if not (ROOT / '.venv' / 'setup' / 'done').exists():
        pytest.skip('no finished .venv/; scripts/test makes it')
    done = subprocess.run(
        [ROOT / 'scripts' / 'setup'], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('Set-up is up to date')
    assert '/5] ' not in done.stdout  # no step


def test_missing_compiler(project, tools):
    path = tools('python3')
    done = run_setup(project, path, THEIA_PYTHON=base_python())

    assert_one_line(done, 'C++ compiler', 'apt install', 'g++')
    assert not (project / '.venv').exists()


def test_missing_python(project, tools):
    assert_one_line(run_setup(project, tools('cc', 'c++')), 'found none', 'apt install')


def test_unfit_python(project, tools):
    done = run_setup(project, tools('cc', 'c++'), THEIA_PYTHON='/bin/false')

    assert_one_line(done, 'THEIA_PYTHON=/bin/false', '3.10')


def test_foreign_environment_is_left_alone(project, tools):
    mine = project / '.venv' / 'mine'
    mine.mkdir(parents=True)

    assert_one_line(run_setup(project, tools()), '.venv/', 'move it away')
    assert mine.exists()


def test_sourced_ros_without_rclpy(project, tools):
    done = run_setup(project, tools(), ROS_DISTRO='humble', THEIA_PYTHON='/bin/false')

    assert_one_line(done, 'ROS 2 humble', 'rclpy')


def test_no_network(project, tools):
    # A port where nobody listens, and no other source of packages.
    offline = {
        'PIP_CONFIG_FILE': '/dev/null',
        'PIP_INDEX_URL': 'http://127.0.0.1:9/simple',
        'PIP_NO_CACHE_DIR': '1',
        'PIP_RETRIES': '1',
        'THEIA_PYTHON': base_python(),
    }
    path = tools('cc', 'c++')

    assert_one_line(run_setup(project, path, **offline), 'no network')
    # What it left behind is no obstacle.
    assert_one_line(run_setup(project, path, **offline), 'no network')
