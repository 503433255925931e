import errno
import hashlib
import io
import shutil
import sys

import pytest
from helpers.hub_server import weights

from theia_ros.errors import WeightsError
from theia_ros.hub import download as module
from theia_ros.hub.download import download
from theia_ros.hub.download import partial_files
from theia_ros.hub.download import Plan

REPO, FILE = 'owner/name', 'model.safetensors'
CONTENT = weights()
SIZE = len(CONTENT)


def plan(hub, etag='tag', ranges=((0, SIZE),), prefix=b''):
    hub.add(REPO, FILE, CONTENT)
    return Plan(f'{hub.url}/{REPO}/resolve/main/{FILE}', etag, SIZE, ranges, prefix)


def silent(line):
    """Take a report."""


def expect(part, digest, content=CONTENT):
    assert part.read_bytes() == content
    assert digest == hashlib.sha256(content).hexdigest()


@pytest.fixture
def target(tmp_path):
    return tmp_path / 'models' / FILE


@pytest.fixture
def interrupted(hub, target):
    """200 000 bytes that another process left."""
    part, _ = download(plan(hub), target, silent)
    part.write_bytes(CONTENT[:200_000])
    hub.sent = 0
    hub.requests.clear()
    return part


def test_file_comes_under_a_name_that_says_it_is_partial(hub, target):
    part, digest = download(plan(hub), target, silent)
    expect(part, digest)
    assert part.name.startswith('model.safetensors.')
    assert part.name.endswith('.part')
    assert list(partial_files(target)) == [part]
    assert not target.exists()


@pytest.mark.parametrize('drops', [[100_000], [1, 2, 3], [70_000, 0, 0, 0, 50_000, 0, 0, 0]])
def test_cut_connections_are_resumed(hub, target, drops):
    hub.drops = list(drops)
    lines = []
    expect(*download(plan(hub), target, lines.append))
    assert hub.sent <= SIZE + 3  # what was in flight may be lost; here at most a few bytes
    assert len(lines) == len(drops)
    assert 'the connection' in lines[0]


def test_enough_failures_in_a_row_end_it_and_what_came_is_kept(hub, target):
    hub.drops = [300_000, 0, 0, 0, 0, 0]
    with pytest.raises(WeightsError, match=r'\(tried 5 times\)') as caught:
        download(plan(hub), target, silent)
    assert '\n' not in str(caught.value)
    (part,) = partial_files(target)
    assert part.read_bytes() == CONTENT[: part.stat().st_size]
    assert part.stat().st_size > 200_000
    hub.drops = []
    expect(*download(plan(hub), target, silent))


def test_another_process_goes_on_where_one_ended(hub, target, interrupted):
    expect(*download(plan(hub), target, silent))
    assert hub.sent == SIZE - 200_000
    assert hub.requests[0][2]['Range'] == f'bytes=200000-{SIZE - 1}'


def test_changed_file_is_begun_anew(hub, target, interrupted):
    part, digest = download(plan(hub, etag='another'), target, silent)
    expect(part, digest)
    assert hub.sent == SIZE
    assert list(partial_files(target)) == [part]


def test_file_without_a_tag_is_begun_anew(hub, target):
    for _ in range(2):
        hub.sent = 0
        expect(*download(plan(hub, etag=None), target, silent))
        assert hub.sent == SIZE
    assert len(list(partial_files(target))) == 1


def test_complete_part_is_not_asked_for_again(hub, target, interrupted):
    interrupted.write_bytes(CONTENT)
    expect(*download(plan(hub), target, silent))
    assert hub.requests == []


def test_too_long_part_is_begun_anew(hub, target, interrupted):
    interrupted.write_bytes(CONTENT + b'!')
    expect(*download(plan(hub), target, silent))
    assert hub.sent == SIZE


def test_server_without_ranges_gives_the_whole_again(hub, target, interrupted):
    hub.ranges = False
    expect(*download(plan(hub), target, silent))
    assert 'Range' in hub.requests[0][2]
    assert 'Range' not in hub.requests[-1][2]


def test_server_without_ranges_that_always_drops_is_given_up(hub, target):
    hub.ranges, hub.drops = False, [100_000] * 20
    with pytest.raises(WeightsError, match=r'tried 5 times'):
        download(plan(hub), target, silent)
    assert len(hub.drops) == 20 - 6  # the first brought news, the five that followed did not


def test_other_length_than_announced_is_refused(hub, target):
    hub.delivered = {'Content-Length': str(SIZE - 1)}
    with pytest.raises(WeightsError, match=f'sends {SIZE - 1} bytes; it announced {SIZE}'):
        download(plan(hub), target, silent)


class TestRanges:
    RANGES = ((1000, 1010), (5000, 205_000))
    EXPECTED = b'prefix' + CONTENT[1000:1010] + CONTENT[5000:205_000]

    def test_only_they_are_sent(self, hub, target):
        expect(*download(plan(hub, 'tag', self.RANGES, b'prefix'), target, silent), self.EXPECTED)
        assert hub.sent == 200_010

    @pytest.mark.parametrize('kept', [0, 3, 6, 11, 16, 17, 150_000])
    def test_they_are_resumed_at_any_byte(self, hub, target, kept):
        part, _ = download(plan(hub, 'tag', self.RANGES, b'prefix'), target, silent)
        part.write_bytes(self.EXPECTED[:kept])
        hub.sent = 0
        expect(*download(plan(hub, 'tag', self.RANGES, b'prefix'), target, silent), self.EXPECTED)
        assert hub.sent == len(self.EXPECTED) - max(kept, 6)

    def test_other_ranges_are_another_file(self, hub, target):
        download(plan(hub, 'tag', self.RANGES, b'prefix'), target, silent)
        other = ((0, 30),)
        expect(*download(plan(hub, 'tag', other), target, silent), CONTENT[:30])

    def test_whole_file_is_not_taken_instead(self, hub, target):
        hub.ranges = False
        with pytest.raises(WeightsError, match='does not send parts of files'):
            download(plan(hub, 'tag', self.RANGES, b'prefix'), target, silent)


class TestProgress:
    def test_bar_counts_bytes_on_a_terminal(self, hub, target, monkeypatch, interrupted):
        terminal = io.StringIO()
        terminal.isatty = lambda: True
        monkeypatch.setattr(sys, 'stderr', terminal)
        monkeypatch.setattr(module, 'QUIET_S', 0.0)
        hub.pause_s = 0.03
        download(plan(hub), target, silent)
        bars = terminal.getvalue().split('\r')
        assert bars[1].startswith('model.safetensors:  25%')  # what was kept is not forgotten
        assert '/787k [00:00<' in bars[1]
        assert 'B/s]' in bars[-3]
        assert bars[-2].strip() == ''  # it is gone at the end

    def test_lines_tell_it_elsewhere(self, hub, target, monkeypatch, capsys):
        monkeypatch.setattr(module, 'REPORT_S', 0.0)
        lines = []
        download(plan(hub), target, lines.append)
        assert lines[0] == 'model.safetensors: 0.1 MB of 0.8 MB'
        assert lines[-1] == 'model.safetensors: 0.8 MB of 0.8 MB'
        assert capsys.readouterr().err == ''


class TestDisk:
    def test_room_is_looked_for_first(self, hub, target, monkeypatch):
        usage = shutil.disk_usage(target.parent.parent)
        monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage._replace(free=1000))
        with pytest.raises(WeightsError, match=r'has no room for model.safetensors: 0\.0 MB are'):
            download(plan(hub), target, silent)
        assert hub.requests == []

    def test_name_in_the_way(self, hub, target):
        target.parent.write_text('a file')
        with pytest.raises(WeightsError, match='models cannot be written: File exists'):
            download(plan(hub), target, silent)

    def test_quota_is_a_full_disk(self, hub, target, monkeypatch):
        def fail(descriptor):
            raise OSError(errno.EDQUOT, 'Disk quota exceeded')

        monkeypatch.setattr('os.fsync', fail)
        with pytest.raises(
            WeightsError,
            match=r'Disk quota exceeded; 0\.8 MB are kept, make room, or name',
        ):
            download(plan(hub), target, silent)
