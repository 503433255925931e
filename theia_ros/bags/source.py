"""A recording that is read: whole bags, those without metadata, and those that were cut off."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mcap.exceptions import McapError
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader
from rosbags.rosbag2 import ReaderError

from theia_ros.bags.cut_mcap import CutMcap
from theia_ros.bags.cut_mcap import is_cut
from theia_ros.errors import BagError

_SUFFIXES = ('.mcap', '.db3')
_ROS_1 = b'#ROSBAG V'


class Source:
    """Give the messages of a bag, in the same order each time.

    Use it as a context manager or close it.

    Attributes:
        path: Of the bag, a folder or a file.
        storage: `mcap` or `sqlite3`.
        connections: One for each topic and type, with the number of its messages.
        message_count: Number of messages that the bag promises.
        start_ns: When its first message was received, nanoseconds.
        end_ns: When its last one was.
        notes: What people should know of how it is read.
    """

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            BagError: It is no bag of ROS 2, it cannot be read, or nothing is in it.
        """
        self.path = path
        self.notes: list[str] = []
        self._open = contextlib.ExitStack()
        try:
            with _readable(path):
                self._files = _files(path)
                self._readers = self._open_readers()
            self.message_count = sum(r.message_count for r in self._readers)
            if not self.message_count:
                raise BagError(f'{path} holds no messages')
            used = [r for r in self._readers if r.message_count]
            self.start_ns = min(r.start_time for r in used)
            self.end_ns = max(r.end_time for r in used) - 1
        except BaseException:
            self.close()
            raise
        self.storage = 'mcap' if '.mcap' in self._files[0].suffixes else 'sqlite3'
        merged: dict[tuple[str, str], Connection] = {}
        for connection in (c for r in self._readers for c in r.connections):
            key = connection.topic, connection.msgtype
            known = merged.get(key)
            count = connection.msgcount + (known.msgcount if known else 0)
            merged[key] = (known or connection)._replace(msgcount=count)
        self.connections = list(merged.values())
        self._merged = merged

    def messages(
        self, start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Give all that was received from `start_ns` until before `end_ns`.

        Yields:
            Which of `connections` it came on, when it was received, and its bytes.

        Raises:
            BagError: The rest cannot be read.
        """
        read = 0
        with _readable(self.path):
            for reader in self._readers:
                for connection, received_ns, raw in reader.messages((), start_ns, end_ns):
                    read += 1
                    yield self._merged[connection.topic, connection.msgtype], received_ns, raw
        if start_ns is None and end_ns is None and read != self.message_count:
            self._note(f'{self.path} promises {self.message_count} messages, and {read} are there')

    def identity(self) -> list[tuple[str, int, int]]:
        """Return name, size and time of change of each file, by which it is known again."""
        stats = [(path.name, path.stat()) for path in self._files]
        return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]

    def close(self) -> None:
        """Close its files; closing twice is harmless."""
        self._open.close()

    def __enter__(self) -> Source:
        """Return the source itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _open_readers(self) -> list[Any]:
        for path in self._files:
            log = path.with_name(path.name + '-wal')
            if path.suffix == '.db3' and log.is_file() and log.stat().st_size:
                raise BagError(
                    f'{path} is unfinished: {log.name} holds messages that are not in it yet; '
                    f'run: sqlite3 {path} "PRAGMA wal_checkpoint(TRUNCATE)"'
                )
        metadata = self.path / 'metadata.yaml'
        cut = [path for path in self._files if path.suffix == '.mcap' and is_cut(path)]
        if metadata.is_file() and not cut:
            try:
                return [self._opened(Reader(self.path))]
            except PermissionError:
                raise
            except Exception as exc:
                if 'metadata' not in str(exc) and 'YAML' not in str(exc):
                    raise
                self._note(f'metadata.yaml cannot be used: {_line(exc)}')
        elif self.path.is_dir() and not metadata.is_file():
            self._note(f'{self.path} has no metadata.yaml, so it was not closed by its recorder')
        readers: list[Any] = []
        for path in self._files:
            if not path.stat().st_size:
                self._note(f'{path.name} is empty')
            elif path in cut:
                reader = CutMcap(path)
                self._note(
                    f'{path.name} is unfinished: {reader.whole_bytes} of its '
                    f'{path.stat().st_size} bytes can be read, {reader.message_count} messages'
                )
                readers.append(reader)
            else:
                readers.append(self._opened(Reader(path)))
        return readers

    def _opened(self, reader: Reader) -> Reader:
        reader.open()
        self._open.callback(reader.close)
        return reader

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _files(path: Path) -> list[Path]:
    """Return the files that hold the messages, in the order of their numbers."""
    if path.is_file():
        with path.open('rb') as file:
            if file.read(len(_ROS_1)) == _ROS_1:
                raise BagError(_ros_1(path))
        if path.suffix not in _SUFFIXES:
            raise BagError(f'{path} is no bag of ROS 2; expected a folder, a .mcap or a .db3 file')
        return [path]
    if not path.is_dir():
        raise BagError(f'{path}: no such bag')
    names = sorted(path.iterdir(), key=_by_number)
    if files := [p for p in names if p.suffix in _SUFFIXES]:
        return files
    compressed = [p for p in names if p.suffix == '.zstd']
    if compressed and (path / 'metadata.yaml').is_file():
        return compressed
    if compressed:
        raise BagError(
            f'{path} has no metadata.yaml, and {compressed[0].name} is compressed; unpack it with '
            'unzstd and try again'
        )
    if first := next((p for p in names if p.suffix == '.bag'), None):
        raise BagError(_ros_1(first))
    raise BagError(f'{path} is no bag of ROS 2: no .mcap or .db3 file is in it')


def _by_number(path: Path) -> list[tuple[int, str]]:
    """Put `x_10` behind `x_9`."""
    parts = re.findall(r'(\d+)|(\D+)', path.name)
    return [(int(number), text) if number else (-1, text) for number, text in parts]


def _ros_1(path: Path) -> str:
    return (
        f'{path} is a bag of ROS 1; make one of ROS 2 of it: '
        f'rosbags-convert --src {path} --dst {path.with_suffix("")}'
    )


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Tell in one line what a library found wrong with a bag."""
    try:
        yield
    except BagError:
        raise
    except OSError as exc:
        raise BagError(f'{exc.filename or path} cannot be read: {exc.strerror or exc}') from exc
    except Exception as exc:  # damaged files lead to nearly every kind there is
        raise BagError(f'{path} cannot be read: {_line(exc)}') from exc


def _line(exc: Exception) -> str:
    """Return an error as one line, with its kind where it was not meant for people."""
    kind = '' if isinstance(exc, (ReaderError, McapError)) else f'{type(exc).__name__}: '
    return kind + ' '.join(str(exc).split())
