"""Real files with real locks, in a folder that stands for /dev/shm."""

from __future__ import annotations

import fcntl
import subprocess
from collections import namedtuple
from pathlib import Path

from theia_ros.doctor import memory
from theia_ros.doctor.finding import Level

Usage = namedtuple('Usage', 'total used free')
ALIVE, DEAD = 'fastdds_00aa11bb22cc33dd', 'fastdds_ffee11bb22cc33dd'


def test_a_shared_memory_that_is_not_there(facts, tmp_path: Path) -> None:
    made = facts(shared_memory=tmp_path / 'none')
    (finding,) = memory.space(made)
    assert finding.level is Level.WARNING
    assert finding.found == f'{tmp_path / "none"} cannot be used: No such file or directory'
    assert finding.cures == (
        f'sudo mount -t tmpfs -o size=1g tmpfs {tmp_path / "none"}',
        'in a container: docker run --ipc=host, or --shm-size=1g',
    )
    assert list(memory.leftovers(made)) == []


def test_one_that_is_nearly_full(facts, tmp_path: Path) -> None:
    usage = Usage(64 << 20, 10 << 20, 54 << 20)  # as in a container, with a process or two
    made = facts(shared_memory=tmp_path, disk_usage=lambda _: usage)
    (finding,) = memory.space(made)
    assert finding.level is Level.WARNING
    assert finding.found == f'{tmp_path}, 57 MB of 67 MB free'
    assert 'takes 17 MB' in finding.wrong
    assert finding.cures[0] == f'sudo mount -o remount,size=1g {tmp_path}'


def test_one_with_room(facts, tmp_path: Path) -> None:
    made = facts(shared_memory=tmp_path, disk_usage=lambda _: Usage(2e9, 1e9, 1e9))
    (finding,) = memory.space(made)
    assert (finding.level, finding.found) == (Level.OK, f'{tmp_path}, 1000 MB of 2000 MB free')


def leave(folder: Path, name: str) -> Path:
    """Leave a segment and its lock as Fast DDS makes them."""
    (folder / name).write_bytes(bytes(1 << 20))
    lock = folder / f'{name}_el'
    lock.touch()
    return lock


def test_segments_are_told_by_the_lock_that_a_living_process_holds(facts, tmp_path: Path) -> None:
    (tmp_path / 'fastdds_port7411').touch()
    (tmp_path / 'something_else').touch()
    leave(tmp_path, DEAD)
    made = facts(shared_memory=tmp_path)
    with leave(tmp_path, ALIVE).open('w') as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        (finding,) = memory.leftovers(made)
        assert finding.level is Level.WARNING
        assert finding.found == 'segments of dead processes: 1, 1 MB'
        # The cure leaves the living one alone.
        subprocess.run(['bash', '-c', finding.cures[-1]], check=True)
        assert sorted(p.name for p in tmp_path.iterdir()) == [
            ALIVE,
            f'{ALIVE}_el',
            'fastdds_port7411',
            'something_else',
        ]
        (finding,) = memory.leftovers(made)
    assert (finding.level, finding.found) == (Level.OK, 'nothing by dead processes')


def test_looking_does_not_hold_the_lock(facts, tmp_path: Path) -> None:
    lock = leave(tmp_path, DEAD)
    list(memory.leftovers(facts(shared_memory=tmp_path)))
    with lock.open('w') as free:
        fcntl.flock(free, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_tool_of_fast_dds_is_named_where_it_is_installed(facts, tmp_path: Path) -> None:
    leave(tmp_path, DEAD)
    made = facts(shared_memory=tmp_path, which=lambda name: f'/opt/ros/jazzy/bin/{name}')
    (finding,) = memory.leftovers(made)
    assert finding.cures[0] == 'fastdds shm clean'
    (finding,) = memory.leftovers(facts(shared_memory=tmp_path))
    assert len(finding.cures) == 1


def test_the_size_of_a_segment_is_that_of_our_profile() -> None:
    profile = Path(__file__).parents[3] / 'config' / 'fastdds.xml'
    assert f'<segment_size>{memory.SEGMENT_BYTES}</segment_size>' in profile.read_text()
