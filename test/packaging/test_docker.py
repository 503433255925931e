"""The files of `docker/` fit the project; nothing is built, which would need a daemon."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest

from theia_ros.engine.tensorrt_settings import RELEASES

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / 'docker'
FILES = sorted(FOLDER.glob('*.Dockerfile'))
DISTROS = ('humble', 'jazzy', 'kilted')

pytestmark = pytest.mark.packaging


def instructions(path: Path) -> list[tuple[str, str]]:
    """Return each instruction and its text, lines joined and comments left out."""
    text = '\n'.join(x for x in path.read_text().splitlines() if not x.lstrip().startswith('#'))
    lines = re.sub(r'\\\n\s*', ' ', text).splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]


def texts(path: Path, name: str) -> list[str]:
    return [text for instruction, text in instructions(path) if instruction == name]


def arguments(path: Path) -> dict[str, str]:
    parts = (text.partition('=') for text in texts(path, 'ARG'))
    return {name: value.strip('"') for name, _, value in parts}


def extras() -> dict[str, str]:
    config = configparser.ConfigParser()
    config.read(ROOT / 'setup.cfg')
    found = config['options']['install_requires'] + ''.join(
        config['options.extras_require'].values()
    )
    return dict(re.findall(r'^([\w-]+) (.+)$', found.replace(', ', ','), re.MULTILINE))


def test_there_are_files_for_desktop_and_jetson() -> None:
    assert [path.name for path in FILES] == ['desktop.Dockerfile', 'jetson.Dockerfile']


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def path(request) -> Path:
    return request.param


def test_what_is_copied_is_there_and_not_ignored(path: Path) -> None:
    ignored = [x for x in (ROOT / '.dockerignore').read_text().splitlines() if x[:1] not in '#']
    for text in texts(path, 'COPY'):
        *sources, _ = text.split()
        for source in sources:
            assert (ROOT / source).exists(), source
            assert not any(fnmatch(source, pattern) for pattern in ignored if pattern), source
    for name in ('package.xml', 'CMakeLists.txt', 'setup.cfg', 'msg', 'theia_ros', 'config'):
        assert not any(fnmatch(name, pattern) for pattern in ignored), name


def test_what_it_runs_and_sets_is_in_the_project(path: Path) -> None:
    (command,) = texts(path, 'CMD')
    launched = re.findall(r'"(\w+\.launch\.py)"', command)
    assert launched
    assert (ROOT / 'launch' / launched[0]).is_file()
    (variables,) = (text for text in texts(path, 'ENV') if 'THEIA_ROS_CACHE' in text)
    places = re.findall(r'PROFILES_FILE=/ws/install/theia_ros/share/theia_ros/(\S+)', variables)
    assert len(places) == 2
    for place in places:
        assert (ROOT / place).is_file()
    assert 'install' in (ROOT / 'CMakeLists.txt').read_text()
    assert texts(path, 'ENTRYPOINT') == ['["/bin/bash", "/entrypoint.sh"]']


def test_every_variable_is_known(path: Path) -> None:
    known = {*arguments(path), 'ROS_DISTRO', 'PATH', 'VERSION_CODENAME', 'site', 'file'}
    for instruction, text in instructions(path):
        for name in re.findall(r'\$\{?(\w+)', text):
            assert name in known, f'{instruction} uses {name}'


def test_the_distribution_is_one_that_theia_ros_is_made_for(path: Path) -> None:
    assert arguments(path)['ROS_DISTRO'] in DISTROS
    rows = (ROOT / 'theia_ros' / 'doctor' / 'ros.py').read_text()
    assert all(f"'{distro}'" in rows for distro in DISTROS)


def test_what_pip_installs_is_within_what_the_project_asks_for(path: Path) -> None:
    wanted = extras()
    named = [text for text in texts(path, 'RUN') if 'pip install' in text]
    quoted = re.findall(r'"([a-z][\w-]*)(>=[^"]+)"', ' '.join(named))
    assert {name for name, _ in quoted} == {'onnx', 'safetensors'}
    for name, rule in quoted:
        assert rule == wanted[name], name


@pytest.mark.parametrize(
    'line',
    [
        line
        for source in (FOLDER / 'desktop.Dockerfile', FOLDER / 'README.md')
        for line in source.read_text().splitlines()
        if 'torch-tensorrt' in line and '==' in line
    ],
)
def test_versions_that_are_named_belong_together(line: str) -> None:
    torch, tensorrt = (
        re.search(rf'[ "]{name}==(\d+\.\d+)', line)[1]
        for name in ('torch', 'torch-tensorrt(?:-rtx)?')
    )
    assert torch == tensorrt
    assert torch in RELEASES
    if '-rtx' in line:
        assert RELEASES[torch].for_rtx


def test_the_readme_builds_files_that_are_there_with_arguments_that_they_have() -> None:
    commands = re.findall(r'^docker build .+$', (FOLDER / 'README.md').read_text(), re.MULTILINE)
    assert len(commands) >= 5
    for command in commands:
        file = ROOT / re.search(r'-f (\S+)', command)[1]
        given = set(re.findall(r'--build-arg (\w+)=', command))
        assert given <= set(arguments(file)), command
        needed = {name for name, value in arguments(file).items() if name == 'BASE' and not value}
        assert needed <= given, command


def test_the_entry_point_is_good_bash() -> None:
    script = FOLDER / 'entrypoint.sh'
    done = subprocess.run(['bash', '-n', script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, '')
    assert script.read_text().rstrip().endswith('exec "$@"')


@pytest.mark.skipif(not shutil.which('hadolint'), reason='hadolint is not installed')
def test_hadolint_finds_nothing(path: Path) -> None:
    done = subprocess.run(['hadolint', path], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, '')
