import dataclasses
import errno
import fcntl
import json
import threading

import pytest

from theia_ros.catalog import APACHE
from theia_ros.errors import WeightsError
from theia_ros.hub import store
from theia_ros.hub.sources import Asset

ASSET = Asset('models/a/model.safetensors', 'owner/a', 'http://x', 'model.safetensors', APACHE)
CONTENT = b'weights'
SHA256 = '9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c'


def put(content=CONTENT, asset=ASSET):
    asset.path.parent.mkdir(parents=True, exist_ok=True)
    part = asset.path.with_name('some.part')
    part.write_bytes(content)
    record = store.Record(
        repo=asset.repo,
        file=asset.file,
        revision='main',
        etag=None,
        size=len(content),
        sha256=store.sha256_of(part),
        fetched='2025-01-01T00:00:00+00:00',
        licence='Apache-2.0',
        licence_accepted=False,
        tensors=('a.', 'b'),
    )
    store.keep(part, asset.path, record)
    return record


def state(hashed=True, asset=ASSET):
    return store.check(asset, hashed=hashed)


def test_kept_file_is_intact_and_its_record_is_read_back():
    assert state().state is store.State.ABSENT
    record = put()
    assert ASSET.path.read_bytes() == CONTENT
    assert state().state is store.State.INTACT
    assert store.read_records(ASSET.path.parent) == {'model.safetensors': record}


def test_other_records_of_the_folder_stay():
    other = Asset('models/a/config.json', 'owner/a', 'http://x', 'config.json', APACHE)
    put()
    put(b'{}', other)
    assert list(store.read_records(ASSET.path.parent)) == ['config.json', 'model.safetensors']
    assert state().state is state(asset=other).state is store.State.INTACT


def test_altered_file_is_named_with_what_was_expected_and_found():
    put()
    ASSET.path.write_bytes(b'weighty')
    assert state(hashed=False).state is store.State.INTACT  # the quick look sees the size alone
    finding = state()
    assert finding.state is store.State.DAMAGED
    assert finding.reason.startswith(f'{ASSET.path}: expected sha256 ')
    ASSET.path.write_bytes(b'short')
    assert state(hashed=False).reason == f'{ASSET.path}: expected 7 bytes, found 5'


def test_file_from_elsewhere_cannot_be_compared():
    ASSET.path.parent.mkdir(parents=True)
    ASSET.path.write_bytes(CONTENT)
    assert state().state is store.State.UNKNOWN


def test_known_checksum_needs_no_record():
    asset = dataclasses.replace(ASSET, sha256=SHA256)
    asset.path.parent.mkdir(parents=True)
    asset.path.write_bytes(CONTENT)
    assert state(asset=asset).state is store.State.INTACT
    asset.path.write_bytes(b'weighty')
    assert state(asset=asset).state is store.State.DAMAGED


@pytest.mark.parametrize(
    'text', ['', '{', '[]', '{"files": 3}', '{"files": {"a": 3}}', '{"files": {"a": {"x": 1}}}']
)
def test_unreadable_records_are_none(text):
    put()
    (ASSET.path.parent / 'SOURCE.json').write_text(text)
    assert store.read_records(ASSET.path.parent) == {}
    assert state().state is store.State.UNKNOWN


def test_record_is_for_people_too():
    put()
    fields = json.loads((ASSET.path.parent / 'SOURCE.json').read_text())['files']
    assert fields['model.safetensors']['repo'] == 'owner/a'
    assert fields['model.safetensors']['tensors'] == ['a.', 'b']


def test_two_processes_do_not_fetch_at_once(tmp_path):
    lines, waiting, done = [], threading.Event(), threading.Event()

    def tell(line):
        lines.append(line)
        waiting.set()

    def second():
        with store.locked(tell):
            done.set()

    with store.locked(tell):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(10)
        assert not done.is_set()
    thread.join(10)
    assert done.is_set()
    assert lines == ['another theia-ros fetch is at work; waiting for it']
    with (tmp_path / 'cache' / '.fetch.lock').open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_file_system_without_locks_is_told_and_used(monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(store.fcntl, 'flock', fail)
    lines = []
    with store.locked(lines.append):
        (line,) = lines
    assert 'has no locks (No locks available); run one theia-ros fetch at a time' in line


def test_cache_that_cannot_be_is_named(tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('THEIA_ROS_CACHE', str(tmp_path / 'file' / 'cache'))
    with (
        pytest.raises(WeightsError, match='cannot be written: Not a directory; name another'),
        store.locked(print),
    ):
        pass
