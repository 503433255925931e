"""Files of arrays, and disks that are full."""

from __future__ import annotations

import errno
import gc
import io
from pathlib import Path

import numpy as np
import pytest

from theia_ros.npz import write_npz

ARRAYS = {
    'tokens': np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    'frame_id': np.array([7, 8], np.int64),
    'meta': np.array('{"grid": [1, 3]}'),
}


class FullDisk(io.RawIOBase):
    """Takes so many bytes and no more."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._place = 0

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = 0) -> int:
        assert whence == 0
        self._place = offset
        return offset

    def write(self, data) -> int:
        if self._place + len(data) > self._room:
            raise OSError(errno.ENOSPC, 'No space left on device')
        self._place += len(data)
        return len(data)


def written() -> bytes:
    file = io.BytesIO()
    write_npz(file, ARRAYS)
    return file.getvalue()


def test_numpy_reads_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / 'x.npz'
    path.write_bytes(written())
    with np.load(path) as found:
        assert list(found) == list(ARRAYS)
        for name, array in ARRAYS.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array)


def test_the_bytes_are_those_of_numpy() -> None:
    theirs = io.BytesIO()
    np.savez(theirs, **ARRAYS)
    assert written() == theirs.getvalue()


def test_wherever_the_disk_is_full_it_is_told_once() -> None:
    """pytest turns what an object says when it is collected into a failure."""
    for room in range(0, len(written()), 7):
        with pytest.raises(OSError, match='No space left on device'):
            write_npz(FullDisk(room), ARRAYS)
    gc.collect()
