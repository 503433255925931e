from __future__ import annotations

import os
from pathlib import Path

import pytest

from theia_ros.commands.files import whole_file
from theia_ros.errors import ParameterError


def test_it_is_there_when_all_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / 'out'
    path.write_bytes(b'old')
    with whole_file(path) as file:
        file.write(b'new')
        assert path.read_bytes() == b'old'
    assert path.read_bytes() == b'new'
    assert list(tmp_path.iterdir()) == [path]


def test_others_may_read_it_as_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with whole_file(tmp_path / 'out'):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / 'out').stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize('error', [KeyboardInterrupt, ValueError])
def test_whatever_ends_it_leaves_what_was_there(error: type[BaseException], tmp_path) -> None:
    path = tmp_path / 'out'
    path.write_bytes(b'old')

    def write_half() -> None:
        with whole_file(path) as file:
            file.write(b'half')
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_bytes() == b'old'
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / 'out'
    path.mkdir()
    expected = f'^{path} cannot be written: Is a directory$'
    with pytest.raises(ParameterError, match=expected), whole_file(path):
        pass
    assert list(tmp_path.iterdir()) == [path]
    path = tmp_path / 'nowhere' / 'out'
    expected = f'^{path} cannot be written: No such file or directory$'
    with pytest.raises(ParameterError, match=expected), whole_file(path):
        pass
