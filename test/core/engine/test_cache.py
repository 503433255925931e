from __future__ import annotations

import dataclasses
import errno
import fcntl
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers import cache_worker
from helpers.cache_worker import KEY

from theia_ros.engine.cache import EngineCache
from theia_ros.engine.engine_file import EngineKey
from theia_ros.engine.engine_file import KIND
from theia_ros.errors import EngineError

ROOT = Path(__file__).parents[3]
CHANGED = {'image_hw': (224, 256), 'max_batch': 4}


class Building:
    """Counts what it builds."""

    def __init__(self, payload: bytes = b'payload') -> None:
        self.payload, self.times = payload, 0

    def __call__(self) -> bytes:
        self.times += 1
        return self.payload


def obtain(folder: Path, building, key: EngineKey = KEY, load=bytes) -> tuple[bytes, list[str]]:
    told: list[str] = []
    return EngineCache(folder, told.append).obtain(key, building, load), told


def changed(key: EngineKey, field: str) -> EngineKey:
    value = CHANGED.get(field) or f'other {getattr(key, field)}'
    return dataclasses.replace(key, **{field: value})


FIELDS = [field.name for field in dataclasses.fields(EngineKey)]


@pytest.mark.parametrize('field', FIELDS)
def test_each_field_changes_the_file(field: str, tmp_path: Path) -> None:
    other = changed(KEY, field)
    assert other.file_name != KEY.file_name
    assert other.digest != KEY.digest
    obtain(tmp_path, Building(b'one'))
    assert obtain(tmp_path, Building(b'other'), other)[0] == b'other'
    assert obtain(tmp_path, Building(b'never'))[0] == b'one'


def test_the_name_is_readable_and_fits_a_file_system() -> None:
    assert KEY.file_name == f'm-theia-openvino-fp32-b8-{KEY.digest[:16]}.engine'
    odd = dataclasses.replace(KEY, model='my model/ä' + 'x' * 300).file_name
    assert '/' not in odd
    assert ' ' not in odd
    assert len(odd.encode()) < 255
    wide = dataclasses.replace(KEY, model='模' * 300).file_name
    assert len(wide.encode()) < 255
    assert wide.startswith('模')


def test_built_once_and_loaded_from_then_on(tmp_path: Path) -> None:
    building = Building()
    payload, told = obtain(tmp_path / 'new' / 'folder', building)
    assert (payload, told) == (b'payload', ['theia: building, none is stored yet'])
    payload, told = obtain(tmp_path / 'new' / 'folder', building)
    assert (payload, told, building.times) == (b'payload', [], 1)


def test_a_stored_engine_is_as_readable_as_any_file(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        obtain(tmp_path, Building())
    finally:
        os.umask(before)
    assert (tmp_path / KEY.file_name).stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize('field', ['backend', 'precision', 'max_batch'])
def test_one_line_names_what_differs_from_an_engine_that_stays(field: str, tmp_path: Path) -> None:
    obtain(tmp_path, Building(), changed(KEY, field))
    (told,) = obtain(tmp_path, Building())[1]
    old, new = getattr(changed(KEY, field), field), getattr(KEY, field)
    assert told == (
        f'theia: building, none is stored yet; another one differs in {field} ({old}, now {new})'
    )


def test_a_copy_under_another_name_differs_in_nothing(tmp_path: Path) -> None:
    obtain(tmp_path, Building())
    (tmp_path / KEY.file_name).rename(tmp_path / 'copy.engine')
    assert obtain(tmp_path, Building())[1] == ['theia: building, none is stored yet']


@pytest.mark.parametrize('field', ['model', 'part'])
def test_engines_of_something_else_are_not_mentioned(field: str, tmp_path: Path) -> None:
    obtain(tmp_path, Building(), changed(KEY, field))
    assert obtain(tmp_path, Building())[1] == ['theia: building, none is stored yet']


def test_long_values_are_shown_where_they_differ(tmp_path: Path) -> None:
    flags = ' '.join(f'flag_{i}' for i in range(40))
    obtain(tmp_path, Building(), dataclasses.replace(KEY, features=flags))
    other = flags.replace('flag_20', 'flog_20')
    (told,) = obtain(tmp_path, Building(), dataclasses.replace(KEY, features=other))[1]
    assert told.endswith(
        'in features (...8 flag_19 flag_20 flag_21 flag_22 fl..., '
        'now ...8 flag_19 flog_20 flag_21 flag_22 fl...)'
    )


@pytest.mark.parametrize('field', [f for f in FIELDS if f not in KIND])
def test_one_line_names_what_differs_from_an_older_engine(field: str, tmp_path: Path) -> None:
    older = changed(KEY, field)
    obtain(tmp_path, Building(), older)
    told = obtain(tmp_path, Building())[1]
    assert len(told) == 1
    assert told[0].startswith(f'theia: building, an older engine differs in {field} (')


def test_the_line_says_old_and_new(tmp_path: Path) -> None:
    older = dataclasses.replace(KEY, driver='550.54', runtime='openvino 0')
    obtain(tmp_path, Building(), older)
    told = obtain(tmp_path, Building(), dataclasses.replace(KEY, driver='560.28'))[1]
    assert told == [
        'theia: building, an older engine differs in driver (550.54, now 560.28), '
        'runtime (openvino 0, now openvino 1)'
    ]


def _cut(data: bytes) -> bytes:
    return data[:-3]


def _flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def _longer(data: bytes) -> bytes:
    return data + b'x'


def _header_cut(data: bytes) -> bytes:
    return data[:60]


def _header_flipped(data: bytes) -> bytes:
    return data.replace(b'"key"', b'"kex"')


def _list_as_header(data: bytes) -> bytes:
    return data[:27] + (2).to_bytes(8, 'little') + b'[]'


def _huge_header(data: bytes) -> bytes:
    return data[:27] + (1 << 60).to_bytes(8, 'little') + data[35:]


def _foreign(data: bytes) -> bytes:
    return b'ftrt a raw TensorRT engine'


def _empty(data: bytes) -> bytes:
    return b''


def _other_key(data: bytes) -> bytes:
    return data.replace(b'a processor', b'b processor')


def _other_header(data: bytes, header: bytes) -> bytes:
    size = int.from_bytes(data[27:35], 'little')
    return data[:27] + len(header).to_bytes(8, 'little') + header + data[35 + size :]


def _more_fields(data: bytes) -> bytes:
    header = data[35 : 35 + int.from_bytes(data[27:35], 'little')]
    return _other_header(data, header.replace(b'"code"', b'"x": "1", "code"'))


def _fewer_fields(data: bytes) -> bytes:
    header = data[35 : 35 + int.from_bytes(data[27:35], 'little')]
    return _other_header(data, header.replace(b'"code": "1", ', b''))


def _deep_header(data: bytes) -> bytes:
    return _other_header(data, b'[' * 100_000)


@pytest.mark.parametrize(
    ('damage', 'why'),
    [
        (_cut, 'is cut off or too long'),
        (_flipped, 'is damaged'),
        (_longer, 'is cut off or too long'),
        (_header_cut, 'is damaged'),
        (_header_flipped, 'is damaged'),
        (_list_as_header, 'is damaged'),
        (_huge_header, 'is no engine file of this format'),
        (_foreign, 'is no engine file of this format'),
        (_empty, 'is no engine file of this format'),
        (
            _other_key,
            'holds another engine, which differs in device (b processor, now a processor)',
        ),
        (_more_fields, 'holds another engine, which differs in x (1, now none)'),
        (_fewer_fields, 'holds another engine, which differs in code (none, now 1)'),
        (_deep_header, 'is damaged'),
    ],
)
def test_what_cannot_be_trusted_is_built_again(damage, why: str, tmp_path: Path) -> None:
    obtain(tmp_path, Building())
    path = tmp_path / KEY.file_name
    path.write_bytes(damage(path.read_bytes()))
    building = Building(b'again')
    payload, told = obtain(tmp_path, building)
    assert (payload, building.times) == (b'again', 1)
    assert told == [f'theia: building, {KEY.file_name} {why}']
    assert obtain(tmp_path, Building(b'never'))[0] == b'again'


def test_what_the_runtime_cannot_load_is_built_again(tmp_path: Path) -> None:
    obtain(tmp_path, Building(b'old'))

    def load(payload: bytes) -> bytes:
        if payload == b'old':
            raise EngineError('wrong platform')
        return payload

    payload, told = obtain(tmp_path, Building(b'new'), load=load)
    assert payload == b'new'
    assert told == [f'theia: building, {KEY.file_name} cannot be loaded: wrong platform']


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> bytes:
        raise EngineError('no such operation')

    with pytest.raises(EngineError, match='no such operation'):
        obtain(tmp_path, fail)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('error', [IndexError('no blob'), OverflowError('too large')], ids=str)
def test_whatever_the_runtime_says_of_what_it_cannot_load(error, tmp_path: Path) -> None:
    obtain(tmp_path, Building(b'old'))

    def load(payload: bytes) -> bytes:
        if payload == b'old':
            raise error
        return payload

    payload, told = obtain(tmp_path, Building(b'new'), load=load)
    assert payload == b'new'
    assert told == [f'theia: building, {KEY.file_name} cannot be loaded: {error}']


def test_what_cannot_be_loaded_is_not_stored(tmp_path: Path) -> None:
    def load(payload: bytes) -> bytes:
        raise EngineError('no memory')

    with pytest.raises(EngineError, match='no memory'):
        obtain(tmp_path, Building(), load=load)
    assert not list(tmp_path.glob('*.engine'))


# --- folders that cannot be written to ----------------------------------------------------------


@contextmanager
def without_root() -> Iterator[None]:
    """Be somebody whom permissions bind."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_may_not_be_written_to(caplog: pytest.LogCaptureFixture) -> None:
    with tempfile.TemporaryDirectory() as name:  # the folders of tests are their owner's alone
        folder, told = Path(name), []
        obtain(folder, Building(b'stored'))
        other = dataclasses.replace(KEY, part='clip')
        folder.chmod(0o555)
        with without_root():
            assert obtain(folder, Building(b'never'))[0] == b'stored'
            cache = EngineCache(folder, told.append)
            assert cache.obtain(other, Building(b'in memory'), bytes) == b'in memory'
            cache.obtain(dataclasses.replace(KEY, part='sam'), Building(), bytes)
        folder.chmod(0o755)
        assert len(list(folder.glob('*.engine'))) == 1
    assert told == [f'{part}: building, none is stored yet' for part in ('clip', 'sam')]
    assert caplog.messages == [
        f'engines cannot be stored in {folder} (Permission denied): they are built again at every '
        'start; parameter engine_cache names another folder'
    ]


def test_a_folder_that_is_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / 'file').write_text('')
    (tmp_path / 'dangling').symlink_to(tmp_path / 'nowhere' / 'at all')
    assert obtain(tmp_path / 'file', Building())[0] == b'payload'
    assert obtain(tmp_path / 'dangling', Building())[0] == b'payload'
    assert [(r.levelname, r.message.partition(':')[0]) for r in caplog.records] == [
        ('WARNING', f'engines cannot be stored in {tmp_path / name} (it is no folder)')
        for name in ('file', 'dangling')
    ]


def test_one_that_must_be_stored_is_not_even_built(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    building = Building()
    cache = EngineCache(tmp_path / 'file', lambda stage: None, must_store=True)
    with pytest.raises(
        EngineError,
        match=rf'^engines cannot be stored in {tmp_path}/file \(it is no folder\); name another',
    ):
        cache.obtain(KEY, building, bytes)
    assert building.times == 0


def test_the_user_is_warned_once_of_a_folder(tmp_path: Path, caplog) -> None:
    (tmp_path / 'file').write_text('')
    for _ in range(2):
        obtain(tmp_path / 'file', Building())
    assert len(caplog.records) == 1


def test_a_full_disk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    big = bytes(2_000_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        assert obtain(tmp_path, Building(big))[0] == big
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
    assert caplog.messages == [
        f'engines cannot be stored in {tmp_path} (File too large): they are built again at every '
        'start; parameter engine_cache names another folder'
    ]


def test_a_file_system_without_locks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr('fcntl.flock', fail)
    obtain(tmp_path, Building(b'stored'))
    assert obtain(tmp_path, Building(b'never'))[0] == b'stored'
    assert caplog.messages == []


# --- several processes ---------------------------------------------------------------------------


def start(folder: Path, log: Path, stage: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join((str(ROOT), str(ROOT / 'test')))
    command = [sys.executable, cache_worker.__file__, str(folder), str(log), stage]
    return subprocess.Popen(command, env={**os.environ, 'PYTHONPATH': path})


def wait_for(log: Path, text: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if log.exists() and text in log.read_text():
            return
        time.sleep(0.02)
    raise AssertionError(f'{text!r} never came: {log.read_text() if log.exists() else None}')


def test_two_processes_build_once(tmp_path: Path) -> None:
    folder, log = tmp_path / 'engines', tmp_path / 'log'
    first = start(folder, log, 'build')
    wait_for(log, 'stays in build')
    second = start(folder, log, 'build')
    wait_for(log, f'waiting for another process that builds {KEY.file_name}')
    Path(f'{log}.go').touch()
    assert (first.wait(60), second.wait(60)) == (0, 0)
    lines = log.read_text().splitlines()
    assert [line for line in lines if line.endswith(' builds')] == [f'{first.pid} builds']
    assert {f"{p.pid} has b'payload'" for p in (first, second)} <= set(lines)
    assert [p.name for p in folder.iterdir()] == [KEY.file_name]


def test_a_lock_that_was_removed_meanwhile_is_taken_anew(tmp_path: Path, monkeypatch) -> None:
    """As by the process that one waited for: others wait for a new file of that name."""
    lock, flock, removed = (tmp_path / KEY.file_name).with_suffix('.lock'), fcntl.flock, []

    def slow(file, operation) -> None:
        flock(file, operation)
        if len(removed) < 2:
            lock.unlink()
            removed.append(lock)
            if len(removed) == 2:  # or another process has made its own by now
                lock.touch()

    monkeypatch.setattr('fcntl.flock', slow)
    held = []

    def build() -> bytes:
        with lock.open('w') as file:
            with pytest.raises(BlockingIOError):
                flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held.append(True)
        return b'payload'

    assert obtain(tmp_path, build)[0] == b'payload'
    assert (held, len(removed)) == ([True], 2)
    assert [p.name for p in tmp_path.iterdir()] == [KEY.file_name]


@pytest.mark.parametrize('stage', ['build', 'write'])
def test_a_killed_process_leaves_nothing_that_looks_complete(stage: str, tmp_path: Path) -> None:
    folder, log = tmp_path / 'engines', tmp_path / 'log'
    killed = start(folder, log, stage)
    wait_for(log, f'stays in {stage}')
    killed.kill()
    assert killed.wait(60) == -9
    assert not list(folder.glob('*.engine'))
    assert len(list(folder.glob('*.part'))) == (stage == 'write')
    # Neither its lock nor its leftovers stand in the way.
    building = Building()
    assert obtain(folder, building)[0] == b'payload'
    assert building.times == 1
    assert {p.suffix for p in folder.iterdir()} == {'.engine'}
