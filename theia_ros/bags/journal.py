"""What was made so far, on disk: whole records only, whenever the process ends."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import BinaryIO

from theia_ros.errors import BagError

_MAGIC = b'theia_ros journal 1\n'
_HEAD = struct.Struct('<QI')
"""Of a record: length and CRC-32 of what follows this head."""


@dataclass(frozen=True)
class Made:
    """What became of a picture.

    Attributes:
        index: Of the picture, counted over all cameras in the order of the recording.
        camera: Name of its camera.
        received_ns: When it was received.
        reason: Why it could not be used; empty if it could.
        messages: Its features as messages, one for each tensor; empty if it could not be used.
    """

    index: int
    camera: str
    received_ns: int
    reason: str = ''
    messages: tuple[bytes, ...] = ()


class Journal:
    """Append records, one for each batch, and read them again.

    Use it as a context manager. A record that was not written to its end, or was damaged, is cut
    off with all that follows when the journal is opened.

    Attributes:
        path: Of the file.
        next_index: Of the first picture that no record tells of.
        counts: Of pictures, by camera and by what was wrong; empty for nothing.
    """

    def __init__(self, path: Path) -> None:
        """Open or make the file, and find out what is in it.

        Raises:
            BagError: It cannot be read or written.
        """
        self.path = path
        self.next_index = 0
        self.counts: Counter[tuple[str, str]] = Counter()
        with written(path):
            self._file = path.open('ab', buffering=0)
            whole = 0
            with path.open('rb') as file:
                for head, _ in _records(file):
                    self._count(head)
                    whole = file.tell()
            self._file.truncate(whole)
            if not whole:
                self._write(_MAGIC)

    def add(self, made: Sequence[Made], next_index: int) -> None:
        """Append a record.

        Args:
            made: Of the batch, in the order of `index`.
            next_index: Of the first picture after it.

        Raises:
            BagError: It cannot be written. Half of it may be there, until the journal is opened
                again.
        """
        pictures = [
            [m.index, m.camera, m.received_ns, m.reason, [len(b) for b in m.messages]]
            for m in made
        ]
        head = {'next': next_index, 'pictures': pictures}
        messages = b''.join(b for m in made for b in m.messages)
        record = json.dumps(head).encode() + b'\n' + messages
        with written(self.path):
            self._write(_HEAD.pack(len(record), zlib.crc32(record)) + record)
        self._count(head)

    def read(self) -> Iterator[Made]:
        """Give all that was appended, in order."""
        with self.path.open('rb') as file:
            for head, record in _records(file):
                at = 0
                for index, camera, received_ns, reason, sizes in head['pictures']:
                    ends = [at := at + size for size in sizes]
                    messages = [bytes(record[e - s : e]) for e, s in zip(ends, sizes, strict=True)]
                    yield Made(index, camera, received_ns, reason, tuple(messages))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Journal:
        """Return the journal itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _count(self, head: dict[str, Any]) -> None:
        self.next_index = head['next']
        self.counts.update((p[1], p[3]) for p in head['pictures'])

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) or 0 :]


@contextlib.contextmanager
def written(path: Path) -> Iterator[None]:
    """Tell in one line what the system did not allow.

    Raises:
        BagError: Where the system, or sqlite3, raised its own.
    """
    try:
        yield
    except (OSError, sqlite3.Error) as exc:
        where, what = getattr(exc, 'filename', None), getattr(exc, 'strerror', None)
        raise BagError(
            f'{where or path} cannot be written: {what or exc}; what was made so far is kept, and '
            'the same command goes on with it'
        ) from exc


def _records(file: BinaryIO) -> Iterator[tuple[dict[str, Any], memoryview]]:
    """Give whole records up to the first that is not: what tells of the pictures, and the rest."""
    size = file.seek(0, 2)
    file.seek(0)
    if file.read(len(_MAGIC)) != _MAGIC:
        return
    while len(head := file.read(_HEAD.size)) == _HEAD.size:
        length, checksum = _HEAD.unpack(head)
        record = file.read(length) if length <= size - file.tell() else b''
        if not record or zlib.crc32(record) != checksum:
            return
        end = record.index(b'\n') + 1
        yield json.loads(record[:end]), memoryview(record)[end:]
