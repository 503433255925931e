"""Shared memory, through which images travel between processes."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator
from pathlib import Path

from theia_ros.doctor.facts import Facts
from theia_ros.doctor.finding import Finding
from theia_ros.doctor.finding import ok
from theia_ros.doctor.finding import warning

SEGMENT_BYTES = 16 << 20
"""Of each process with config/fastdds.xml."""
_LEAST_FREE_BYTES = 4 * SEGMENT_BYTES
_SEGMENT = re.compile(r'fastdds_[0-9a-z]{16}')


def space(facts: Facts) -> Iterator[Finding]:
    """Look for shared memory, and for enough of it for a camera, the node and a policy."""
    folder = facts.shared_memory
    try:
        usage = facts.disk_usage(folder)
    except OSError as exc:
        yield warning(
            'shared memory',
            f'{folder} cannot be used: {exc.strerror}',
            'images travel by network on this computer, slowly, or not at all',
            f'sudo mount -t tmpfs -o size=1g tmpfs {folder}',
            'in a container: docker run --ipc=host, or --shm-size=1g',
        )
        return
    found = f'{folder}, {_mb(usage.free)} of {_mb(usage.total)} free'
    if usage.free >= _LEAST_FREE_BYTES:
        yield ok('shared memory', found)
        return
    yield warning(
        'shared memory',
        found,
        f'each process of ROS takes {_mb(SEGMENT_BYTES)}; large images are lost once it is full',
        f'sudo mount -o remount,size=1g {folder}',
        'in a container: docker run --ipc=host, or --shm-size=1g',
    )


def leftovers(facts: Facts) -> Iterator[Finding]:
    """Count what processes left there that died without closing Fast DDS."""
    dead, used = [], 0
    try:
        names = sorted(path.name for path in facts.shared_memory.iterdir())
    except OSError:
        return  # said already
    for name in names:
        if _SEGMENT.fullmatch(name) and is_dead(facts.shared_memory / name):
            dead.append(name)
            used += _size(facts.shared_memory / name)
    if not dead:
        yield ok('left behind', 'nothing by dead processes')
        return
    each = f'{facts.shared_memory}/fastdds_????????????????'
    by_hand = f'for f in {each}_el; do flock -n "$f" rm -f "${{f%_el}}" "$f"; done'
    tool = 'fastdds shm clean'
    yield warning(
        'left behind',
        f'segments of dead processes: {len(dead)}, {_mb(used)}',
        'processes that were killed leave their shared memory behind until it is full',
        *([tool] if facts.which('fastdds') else []),
        by_hand,
    )


def is_dead(segment: Path) -> bool:
    """Return whether nobody holds the lock that belongs to a segment while its owner lives."""
    try:
        with segment.with_name(f'{segment.name}_el').open('rb') as lock:
            # Shared and let go at once: names are random, so nobody else comes for this one.
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False  # held, or not ours to ask
    return True


def _size(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512
    except OSError:
        return 0


def _mb(count: int) -> str:
    return f'{count / 1e6:.0f} MB'
