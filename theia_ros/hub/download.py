"""Ranges of a file into a partial file, resumed after whatever happened."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import BinaryIO

from theia_ros.errors import WeightsError
from theia_ros.hub import web
from theia_ros.hub.patience import Patience
from theia_ros.hub.patience import Report
from theia_ros.hub.patience import TransientError

BLOCK_BYTES = 1 << 16
QUIET_S = 2.0
"""What takes no longer shows no bar."""
REPORT_S = 10.0
"""Between lines on progress, where a bar cannot be shown."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Plan:
    """What a downloaded file is made of: some bytes that are known, then ranges of another file.

    Attributes:
        url: Address of the other file.
        etag: Changes with its content. Without one, nothing is resumed in a later run.
        size: Of the other file, in bytes.
        ranges: Begin and end, in order.
        prefix: The bytes that are known.
    """

    url: str
    etag: str | None
    size: int
    ranges: tuple[tuple[int, int], ...]
    prefix: bytes = b''

    @property
    def total(self) -> int:
        """Size of the downloaded file, in bytes."""
        return len(self.prefix) + sum(end - begin for begin, end in self.ranges)

    @property
    def whole(self) -> bool:
        """Whether it is the other file and nothing else."""
        return self.ranges == ((0, self.size),) and not self.prefix

    def rest(self, position: int) -> tuple[int, int]:
        """Return the range that follows a position of the downloaded file."""
        position -= len(self.prefix)
        for begin, end in self.ranges:
            if position < end - begin:
                return begin + position, end
            position -= end - begin
        raise ValueError(position)


def partial_files(target: Path) -> Iterator[Path]:
    """Yield what is there of unfinished downloads of a file."""
    # The name of a target has no character that means something to glob.
    yield from target.parent.glob(f'{target.name}.*.part')


def download(plan: Plan, target: Path, report: Report) -> tuple[Path, str]:
    """Download into a partial file beside the target, from where it ends.

    A partial file carries the tag of its content in its name: one with another tag is of no use
    and is removed. Only one process may do this for a target at a time.

    Returns:
        The partial file, complete, and the SHA-256 of its bytes.

    Raises:
        WeightsError: It cannot be completed now. What came is kept.
    """
    tag = f'{plan.etag or os.urandom(8).hex()} {plan.ranges}'.encode() + plan.prefix
    path = target.with_name(f'{target.name}.{hashlib.sha256(tag).hexdigest()[:12]}.part')
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for other in partial_files(target):
            if other != path:
                other.unlink()
        kept = path.stat().st_size if path.exists() else 0
        free = shutil.disk_usage(target.parent).free
        if plan.total - kept > free:
            raise OSError(errno.ENOSPC, f'{_mb(free)} are free of {_mb(plan.total - kept)}')
        with path.open('a+b', buffering=0) as file:
            part = _Part(file, plan)
            _fill(plan, part, target.name, report)
            os.fsync(file.fileno())
    except OSError as exc:
        raise _local(exc, target, path) from exc
    return path, part.sha256


class _Part:
    """A partial file that is open, and the SHA-256 of what it holds.

    Attributes:
        size: In bytes.
    """

    def __init__(self, file: BinaryIO, plan: Plan) -> None:
        """Take over what is there, as far as it can be the beginning of the planned file."""
        self._file, self._prefix = file, plan.prefix
        self._digest = hashlib.sha256()
        self.size = file.seek(0, os.SEEK_END)
        if len(plan.prefix) <= self.size <= plan.total:
            file.seek(0)
            while block := file.read(BLOCK_BYTES):
                self._digest.update(block)
        else:
            self.restart()

    @property
    def sha256(self) -> str:
        """Of its bytes, hexadecimal."""
        return self._digest.hexdigest()

    def restart(self) -> None:
        """Begin anew, with the bytes that are known."""
        self._file.truncate(0)
        self._digest = hashlib.sha256()
        self.size = 0
        self.append(self._prefix)

    def append(self, block: bytes) -> None:
        """Write all of a block."""
        view = memoryview(block)
        while view:
            view = view[self._file.write(view) :]
        self._digest.update(block)
        self.size += len(block)


def _fill(plan: Plan, part: _Part, name: str, report: Report) -> None:
    """Append what is missing."""
    patience, furthest, resumable = Patience(report), part.size, True
    with _progress(plan, part.size, name, report) as show:
        while part.size < plan.total:
            if not resumable:
                part.restart()
            begin, end = plan.rest(part.size)
            goal = part.size + end - begin
            try:
                with web.open_range(plan.url, begin, end, plan.size) as response:
                    for block in _blocks(response, end - begin):
                        part.append(block)
                        show(part.size)
                        if part.size > furthest:
                            furthest = part.size
                            patience.reset()
                if part.size < goal:
                    raise TransientError(
                        f'{name}: the connection ended after {part.size} of {plan.total} bytes'
                    )
            except web.RangesIgnoredError:
                if not plan.whole or not resumable:
                    raise
                resumable = False
            except TransientError as exc:
                patience.wait(exc)


def _blocks(response: HTTPResponse, size: int) -> Iterator[bytes]:
    """Yield what comes of so many bytes."""
    while size and (block := web.read(response, min(BLOCK_BYTES, size))):
        size -= len(block)
        yield block


@contextmanager
def _progress(
    plan: Plan, position: int, name: str, report: Report
) -> Iterator[Callable[[int], None]]:
    """Give a function that shows how far a download is: by a bar, or by lines now and then."""
    from tqdm import tqdm

    with tqdm(
        desc=name,
        total=plan.total,
        initial=position,
        unit='B',
        unit_scale=True,
        delay=QUIET_S,
        leave=False,
        disable=None,  # unless it is a terminal
    ) as bar:
        reported_s = time.monotonic()

        def show(position: int) -> None:
            nonlocal reported_s
            bar.update(position - bar.n)
            if bar.disable and time.monotonic() - reported_s > REPORT_S:
                reported_s = time.monotonic()
                report(f'{name}: {_mb(position)} of {_mb(plan.total)}')

        yield show


def _local(exc: OSError, target: Path, part: Path) -> WeightsError:
    if exc.errno not in _FULL:
        return WeightsError(f'{exc.filename or target} cannot be written: {exc.strerror}')
    kept = part.stat().st_size if part.is_file() else 0
    return WeightsError(
        f'{target.parent} has no room for {target.name}: {exc.strerror}; {_mb(kept)} are kept, '
        'make room, or name another cache folder with THEIA_ROS_CACHE, and run it again'
    )


def _mb(size: int) -> str:
    return f'{size / 1e6:.1f} MB'
