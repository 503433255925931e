"""Real folders: missing, read-only, full, and no folder at all."""

from __future__ import annotations

import os
import resource
from collections import namedtuple
from pathlib import Path

import pytest

from theia_ros.doctor import storage
from theia_ros.doctor.finding import Level

Usage = namedtuple('Usage', 'total used free')


def cache(facts, folder: Path, free: float = 9e9):
    made = facts(given={'engine_cache': str(folder)}, disk_usage=lambda _: Usage(1e12, 0, free))
    (finding,) = storage.cache(made)
    return finding


def test_a_folder_with_room(facts, tmp_path: Path) -> None:
    finding = cache(facts, tmp_path)
    assert (finding.level, finding.found) == (Level.OK, f'{tmp_path}, 9.0 GB free')
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_made_yet(facts, tmp_path: Path) -> None:
    finding = cache(facts, tmp_path / 'a' / 'b')
    assert finding.found == f'{tmp_path}/a/b, not made yet, 9.0 GB free'
    assert not (tmp_path / 'a').exists()


def test_the_users_cache_is_the_default(facts, tmp_path: Path) -> None:
    (finding,) = storage.cache(facts())
    assert finding.found.startswith(f'{os.environ["THEIA_ROS_CACHE"]}/engines, not made yet')


def test_little_space(facts, tmp_path: Path) -> None:
    finding = cache(facts, tmp_path, 0.4e9)
    assert (finding.level, finding.found) == (Level.WARNING, f'{tmp_path}, 0.4 GB free')
    assert finding.wrong == 'a large model and its engines take 2 GB'
    assert finding.cures[0] == f'rm -r {tmp_path}'


def test_a_full_disk(facts, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        finding = cache(facts, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert finding.level is Level.WARNING
    assert finding.wrong == (
        'it cannot be written (File too large): engines are built again at every start'
    )


def test_a_file_in_its_place(facts, tmp_path: Path) -> None:
    (tmp_path / 'engines').write_text('no folder')
    finding = cache(facts, tmp_path / 'engines')
    assert finding.level is Level.WARNING
    assert f'({tmp_path}/engines is no folder)' in finding.wrong


@pytest.mark.skipif(not Path('/proc/1').exists(), reason='needs a file system without writing')
def test_a_read_only_folder(facts) -> None:
    finding = cache(facts, Path('/proc/theia_ros'))
    assert finding.level is Level.WARNING
    assert finding.wrong.startswith('it cannot be written (')
    assert finding.cures[0].startswith('export THEIA_ROS_CACHE=')
