"""What every test gets: an environment without its user's settings, and ROS where it is needed."""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from theia_ros.catalog import cache_folder
from theia_ros.doctor.memory import is_dead

# What a sourced ROS and scripts/env.sh set, so that ROS starts and stays on this computer.
_KEPT = {
    'ROS_AUTOMATIC_DISCOVERY_RANGE',
    'ROS_DISTRO',
    'ROS_LOCALHOST_ONLY',
    'ROS_PYTHON_VERSION',
    'ROS_VERSION',
}
_STRIPPED = ('ROS_', 'RCUTILS_', 'THEIA_')
_PROXIES = ('http_proxy', 'https_proxy', 'all_proxy', 'ftp_proxy', 'no_proxy')

# Not `ament_index_python` and the like: these two stand for all that scripts/setup installs.
_MISSING = [name for name in ('rclpy', 'theia_msgs') if not importlib.util.find_spec(name)]
_NO_ROS = f'needs {" and ".join(_MISSING)}; run scripts/setup, or source a ROS 2 with theia_msgs'
_MADE_BY_SETUP = Path(sys.prefix, 'setup', 'done').is_file()
_ROS_FOLDERS = ('ros',)
"""Folders whose modules import ROS messages at their head."""

_domains = itertools.count(os.getpid())


def pytest_configure(config: pytest.Config) -> None:
    """Let nothing be skipped for want of ROS where scripts/setup has installed it."""
    if _MISSING and _MADE_BY_SETUP:
        raise pytest.UsageError(
            f'{sys.prefix} was made by scripts/setup, but {" and ".join(_MISSING)} cannot be '
            'imported; run scripts/setup again'
        )
    # Imported by the generated messages, at their first use.
    config.addinivalue_line('filterwarnings', "ignore:module 'sre_:DeprecationWarning:lark")


class _WithoutRos(pytest.Module):
    """A module that cannot even be imported without ROS."""

    def collect(self) -> None:
        pytest.skip(_NO_ROS)


def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> pytest.Module | None:
    if _MISSING and module_path.parent.name in _ROS_FOLDERS:
        return _WithoutRos.from_parent(parent, path=module_path)
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _MISSING and item.get_closest_marker('needs_ros'):
            item.add_marker(pytest.mark.skip(reason=_NO_ROS))


@pytest.fixture(scope='session')
def users_cache() -> Path:
    """The user's own cache of models, for a test that wants the real one."""
    return cache_folder()


@pytest.fixture(scope='session', autouse=True)
def _own_folders(
    users_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """Keep what fixtures of modules write out of the user's folders; engines are built once."""
    folder = tmp_path_factory.getbasetemp() / 'environment'
    names = {
        'ROS_LOG_DIR': str(folder / 'ros_log'),
        'THEIA_ROS_CACHE': str(folder / 'empty_cache'),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in names.items():
            patch.setenv(name, value)
        yield names


@pytest.fixture(autouse=True)
def _clean_environ(
    _own_folders: dict[str, str], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Take the user's settings away, and keep what a test writes out of the user's folders."""
    marks = {mark.name for mark in request.node.iter_markers()}
    for name in list(os.environ):
        if name.startswith(_STRIPPED) and name not in _KEPT:
            monkeypatch.delenv(name)
        if name.lower() in _PROXIES and not marks & {'network', 'packaging'}:
            monkeypatch.delenv(name)
    for name, value in _own_folders.items():
        monkeypatch.setenv(name, value)
    if 'needs_ros' in marks:
        request.getfixturevalue('domain')


@pytest.fixture
def domain(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A ROS domain of the test's own, also beside other runs of the tests."""
    while True:
        number = 1 + next(_domains) % 101
        # DDS uses this port with UDP; whoever holds it with TCP has the domain.
        with socket.socket() as lock:
            try:
                lock.bind(('127.0.0.1', 7400 + 250 * number))
            except OSError:
                continue
            monkeypatch.setenv('ROS_DOMAIN_ID', str(number))
            _remove_leftovers(7400 + 250 * number)
            yield number
            return


def _remove_leftovers(first_port: int) -> None:
    """Remove what killed processes of earlier tests left in the shared memory of a domain.

    Whoever comes next would wait for them, up to half a minute, before it is discovered.
    """
    folder = Path('/dev/shm')
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        port = re.fullmatch(r'(?:sem\.)?fastdds_port(\d+)(?:_\w+)?', path.name)
        ours = port and first_port <= int(port[1]) < first_port + 250
        if ours or (re.fullmatch(r'fastdds_[0-9a-z]{16}', path.name) and is_dead(path)):
            path.unlink(missing_ok=True)
            if not port:
                path.with_name(f'{path.name}_el').unlink(missing_ok=True)
