"""The checksums beside the files of the cache.

Each folder has a `SOURCE.json` that says of each fetched file where it came from, when, under
which licence, and its SHA-256 at that time.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from theia_ros.catalog import cache_folder
from theia_ros.errors import WeightsError
from theia_ros.hub.patience import Report
from theia_ros.hub.sources import Asset

RECORD_FILE = 'SOURCE.json'
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Record:
    """What is known of a file since it was fetched.

    Attributes:
        repo: Repository that publishes it, or what else it came from.
        file: Its path there.
        revision: Commit, if the server told it.
        etag: The server's tag of the whole file.
        size: In bytes, here.
        sha256: Of the bytes here.
        fetched: Date and time, UTC.
        licence: Its short name.
        licence_accepted: Whether the user was asked and agreed.
        tensors: The tensors that were taken; empty if it is the whole file.
    """

    repo: str
    file: str
    revision: str | None
    etag: str | None
    size: int
    sha256: str
    fetched: str
    licence: str
    licence_accepted: bool
    tensors: tuple[str, ...] = ()


class State(Enum):
    """What is here of a file."""

    ABSENT = 'not here'
    INTACT = 'here'
    DAMAGED = 'damaged'
    UNKNOWN = 'here, from elsewhere'
    """There is no checksum to compare it with."""


@dataclass(frozen=True)
class Finding:
    """State of a file; the reason, if it is damaged, with what was expected and found."""

    state: State
    reason: str = ''


def check(asset: Asset, *, hashed: bool) -> Finding:
    """Compare a file of the cache with what was recorded when it was fetched.

    Args:
        asset: Names the file.
        hashed: Whether to read all of it, or only look at its size.

    Raises:
        WeightsError: It cannot be looked at.
    """
    path = asset.path
    try:
        found = path.stat().st_size if path.is_file() else None
    except OSError as exc:
        raise WeightsError(f'{path} cannot be read: {exc.strerror}') from exc
    if found is None:
        return Finding(State.ABSENT)
    record = read_records(path.parent).get(path.name)
    size = asset.size or (record.size if record else None)
    sha256 = asset.sha256 or (record.sha256 if record else None)
    if sha256 is None:
        return Finding(State.UNKNOWN)
    if size is not None and found != size:
        return Finding(State.DAMAGED, f'{path}: expected {size} bytes, found {found}')
    if hashed and (digest := sha256_of(path)) != sha256:
        return Finding(State.DAMAGED, f'{path}: expected sha256 {sha256}, found {digest}')
    return Finding(State.INTACT)


def sha256_of(path: Path) -> str:
    """Return the checksum of a file, hexadecimal.

    Raises:
        WeightsError: It cannot be read.
    """
    from tqdm import tqdm

    digest = hashlib.sha256()
    try:
        with (
            path.open('rb') as file,
            tqdm(
                desc=f'checking {path.name}',
                total=path.stat().st_size,
                unit='B',
                unit_scale=True,
                delay=2,
                leave=False,
                disable=None,  # unless it is a terminal
            ) as bar,
        ):
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
                bar.update(len(block))
    except OSError as exc:
        raise WeightsError(f'{path} cannot be read: {exc.strerror}') from exc
    return digest.hexdigest()


def read_records(folder: Path) -> dict[str, Record]:
    """Return what is recorded of the files of a folder, by name; nothing if it is unreadable."""
    try:
        files = json.loads((folder / RECORD_FILE).read_text(encoding='utf-8'))['files']
        return {
            name: Record(**{**fields, 'tensors': tuple(fields['tensors'])})
            for name, fields in files.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def keep(part: Path, path: Path, record: Record) -> None:
    """Give a complete partial file its name, and record its checksum.

    The record comes first, so that a file without one is never ours. A record without a file
    does no harm.

    Raises:
        WeightsError: The folder cannot be written.
    """
    files = {**read_records(path.parent), path.name: record}
    text = json.dumps({'files': {name: asdict(files[name]) for name in sorted(files)}}, indent=2)
    temporary = path.with_name(f'{RECORD_FILE}.new')
    try:
        temporary.write_text(f'{text}\n', encoding='utf-8')
        temporary.replace(path.parent / RECORD_FILE)
        part.replace(path)
    except OSError as exc:
        raise WeightsError(f'{path} cannot be written: {exc.strerror}; run it again') from exc


@contextmanager
def locked(report: Report) -> Iterator[None]:
    """Wait until no other process fetches into this cache, and keep others waiting.

    Raises:
        WeightsError: The cache folder cannot be written.
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / '.fetch.lock').open('w')
    except OSError as exc:
        raise WeightsError(
            f'{folder} cannot be written: {exc.strerror}; '
            'name another cache folder with THEIA_ROS_CACHE'
        ) from exc
    with file:  # closing releases the lock, as does the end of a killed process
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report('another theia-ros fetch is at work; waiting for it')
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as exc:
            report(
                f'note: {folder} has no locks ({exc.strerror}); run one theia-ros fetch at a time'
            )
        yield
