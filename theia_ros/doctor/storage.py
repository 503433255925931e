"""The folders that models and engines are kept in."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from theia_ros.catalog import cache_folder
from theia_ros.catalog import user_path
from theia_ros.doctor.facts import Facts
from theia_ros.doctor.finding import Finding
from theia_ros.doctor.finding import ok
from theia_ros.doctor.finding import warning

LEAST_FREE_BYTES = 2_000_000_000
"""For the largest model with its engines."""
_TRIAL_BYTES = 1 << 20


def engines(facts: Facts) -> Path:
    """Return the folder that the node keeps built engines in."""
    chosen = facts.params.engine_cache
    return user_path(chosen) if chosen else cache_folder() / 'engines'


def cache(facts: Facts) -> Iterator[Finding]:
    """Write to the folder of the engines, and look at its free space."""
    folder = engines(facts)
    there = next(path for path in (folder, *folder.parents) if path.exists())
    cure = 'export THEIA_ROS_CACHE=FOLDER, or parameter engine_cache, with a folder of yours'
    try:
        if not there.is_dir():
            raise NotADirectoryError(20, f'{there} is no folder')
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(bytes(_TRIAL_BYTES))
            file.flush()
        free = facts.disk_usage(there).free
    except OSError as exc:
        wrong = f'it cannot be written ({exc.strerror}): engines are built again at every start'
        yield warning(
            'cache',
            str(folder),
            wrong,
            cure,
            f'df -h {quote(str(there))}; ls -ld {quote(str(there))}',
        )
        return
    made = '' if folder.exists() else ', not made yet'
    found = f'{folder}{made}, {free / 1e9:.1f} GB free'
    if free < LEAST_FREE_BYTES:
        wrong = f'a large model and its engines take {LEAST_FREE_BYTES / 1e9:.0f} GB'
        yield warning('cache', found, wrong, f'rm -r {quote(str(folder))}', cure)
    else:
        yield ok('cache', found)
