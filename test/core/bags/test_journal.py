from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from theia_ros.bags.journal import Journal
from theia_ros.bags.journal import Made
from theia_ros.errors import BagError

RECORDS = (
    [Made(0, 'front', 5, '', (b'abc', b'')), Made(1, 'wrist', 6, 'short')],
    [],
    [Made(2, 'front', 7, '', (b'\n' * 50, b'x' * 1000))],
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with Journal(tmp_path / 'journal') as journal:
        for i, record in enumerate(RECORDS):
            journal.add(record, 2 + i)
    return tmp_path / 'journal'


def told(path: Path) -> tuple[int, list[Made]]:
    with Journal(path) as journal:
        return journal.next_index, list(journal.read())


def test_records_come_back(path: Path) -> None:
    assert told(path) == (4, [made for record in RECORDS for made in record])
    with Journal(path) as journal:
        assert journal.counts == {('front', ''): 2, ('wrist', 'short'): 1}


def test_it_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    with Journal(tmp_path / 'journal') as journal:
        assert list(journal.read()) == []
        journal.add(RECORDS[0], 2)
        assert list(journal.read()) == list(RECORDS[0])
        journal.add(RECORDS[2], 3)
        assert len(list(journal.read())) == 3
        assert journal.counts['front', ''] == 2


def test_every_cut_leaves_whole_records(path: Path, tmp_path: Path) -> None:
    size = path.stat().st_size
    starts = {0: 0, 2: 2, 3: 2, 4: 3}
    seen = set()
    for length in range(size):
        cut = tmp_path / 'cut'
        shutil.copy(path, cut)
        os.truncate(cut, length)
        next_index, made = told(cut)
        seen.add(next_index)
        assert len(made) == starts[next_index]
        # It goes on as if nothing had been there.
        with Journal(cut) as journal:
            journal.add([Made(9, 'front', 1, '', (b'new',))], 10)
        assert told(cut) == (10, [*made, Made(9, 'front', 1, '', (b'new',))])
    assert seen == {0, 2, 3}


def test_every_damaged_byte_is_noticed(path: Path, tmp_path: Path) -> None:
    whole = path.read_bytes()
    everything = told(path)
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 0x10
        damaged = tmp_path / 'damaged'
        damaged.write_bytes(data)
        next_index, made = told(damaged)
        assert next_index < 4
        assert everything[1][: len(made)] == made


def test_lengths_beyond_the_file_take_no_memory(path: Path) -> None:
    with path.open('ab') as file:
        file.write((2**60).to_bytes(8, 'little') + bytes(4) + b'x' * 100)
    assert told(path)[0] == 4


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BagError) as caught:
        Journal(tmp_path / 'nowhere' / 'journal')
    expected = f'{tmp_path}/nowhere/journal cannot be written: No such file or directory; '
    assert str(caught.value).startswith(expected)
