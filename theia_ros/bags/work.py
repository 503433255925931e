"""The folder in which a result is made: kept when a run is cut off, renamed when it is whole."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from theia_ros.bags.journal import written
from theia_ros.errors import BagError

MARK = 'theia_ros bag'
"""Stands in what tells of a result."""

_JOB, _LOCK, _JOURNAL, _REPLACED = 'job.json', 'lock', 'journal', 'replaced'


def check_free(out: Path, overwrite: bool) -> None:
    """Refuse a result that is there already, unless it may be replaced.

    Raises:
        BagError: It is there, or it could not be made.
    """
    if out.name in ('', '..'):
        raise BagError(f'{out} has no name of its own; name the folder that is to be made')
    if not out.parent.is_dir():
        raise BagError(f'{out}: folder {out.parent} does not exist')
    if not os.path.lexists(out):
        return
    if not overwrite:
        raise BagError(f'{out} exists; use another name, or --overwrite to replace it')
    if not out.is_dir() or (any(out.iterdir()) and not _is_ours(out)):
        raise BagError(f'{out} was not made by this command; remove it yourself')


def _is_ours(out: Path) -> bool:
    """Tell whether this command made a folder: a recording is not lost to a slip of the pen."""
    told = [p for p in (out / 'metadata.yaml', out / 'info.json') if p.is_file()]
    return any(MARK in path.read_text(errors='replace') for path in told)


class Work:
    """The folder `OUT.part` beside OUT.

    Use it as a context manager; while it is open, no other process can use the same folder.

    Attributes:
        result: What becomes OUT; not there yet.
        journal: Path of the journal, which may not be there yet.
    """

    def __init__(self, out: Path, job: Mapping[str, Any], overwrite: bool) -> None:
        """Make the folder, or take the one that an earlier process left.

        Args:
            out: The result.
            job: What decides it; only work on the same job is resumed.
            overwrite: Whether what is left of another job, and OUT, may be replaced.

        Raises:
            BagError: The folder is in use, or of another job, or cannot be written.
        """
        check_free(out, overwrite)
        self._out, self._overwrite = out, overwrite
        self._folder = out.with_name(f'{out.name}.part')
        self.result = self._folder / out.name
        self.journal = self._folder / _JOURNAL
        self._lock: Any = None
        try:
            with written(self._folder):
                self._take(json.loads(json.dumps(job)), overwrite)
        except BaseException:
            self.close()
            raise

    def finish(self) -> None:
        """Make the result OUT, and remove the folder.

        Raises:
            BagError: It cannot be renamed, or OUT was made by somebody else meanwhile.
        """
        check_free(self._out, self._overwrite)
        with written(self._out):
            _sync(self.result)
            if os.path.lexists(self._out):
                shutil.rmtree(self._folder / _REPLACED, ignore_errors=True)
                self._out.rename(self._folder / _REPLACED)
            self.result.rename(self._out)
            _sync_folder(self._out.parent)
        self.discard()

    def discard(self) -> None:
        """Remove the folder and all in it."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def close(self) -> None:
        """Let others use the folder; closing twice is harmless."""
        if self._lock:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Work:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _take(self, job: Mapping[str, Any], overwrite: bool) -> None:
        folder, ours = self._folder, {_JOB, _LOCK, _JOURNAL, _REPLACED, self._out.name}
        folder.mkdir(exist_ok=True)
        if foreign := sorted({p.name for p in folder.iterdir()} - ours):
            raise BagError(f'{folder / foreign[0]} is not of this command; remove {folder}')
        self._lock = (folder / _LOCK).open('w')
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise BagError(f'{folder} is in use by another process; wait for it') from exc
        # Half a result is of no use; the journal has all that it was made of.
        shutil.rmtree(self.result, ignore_errors=True)
        left = None
        with contextlib.suppress(FileNotFoundError, ValueError):
            left = json.loads((folder / _JOB).read_text())
        if left == job:
            return
        if left is not None and not overwrite:
            name = next(k for k in {**left, **job} if left.get(k) != job.get(k))
            raise BagError(
                f'{folder} was left by another command: {name} was {left.get(name)} and is '
                f'{job.get(name)}; repeat that one to go on, or use --overwrite to start anew'
            )
        self.journal.unlink(missing_ok=True)
        (folder / _JOB).write_text(json.dumps(job))


def _sync(folder: Path) -> None:
    """Wait until all in a folder is on the disk."""
    for path in folder.rglob('*'):
        if path.is_file():
            with path.open('rb') as file:
                os.fsync(file.fileno())
    for path in (folder, *(p for p in folder.rglob('*') if p.is_dir())):
        _sync_folder(path)


def _sync_folder(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
