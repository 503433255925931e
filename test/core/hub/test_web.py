import socket
import threading

import pytest
from helpers.hub_server import COMMIT
from helpers.hub_server import sha256

from theia_ros.errors import WeightsError
from theia_ros.hub import patience
from theia_ros.hub import web

REPO, FILE = 'owner/name', 'model.safetensors'


def address(hub, file=FILE):
    return f'{hub.url}/{REPO}/resolve/main/{file}'


def silent(line):
    """Take a report."""


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class TestLookUp:
    def test_large_file_is_described_by_its_redirect(self, hub):
        hub.add(REPO, FILE, b'x' * 1000)
        remote = web.look_up(address(hub))
        assert remote == web.Remote(COMMIT, sha256(b'x' * 1000), 1000, sha256(b'x' * 1000))
        assert [method for method, *_ in hub.requests] == ['HEAD']

    def test_small_file_has_no_sha256(self, hub):
        hub.add(REPO, 'config.json', b'{}', large=False)
        remote = web.look_up(address(hub, 'config.json'))
        assert (remote.size, remote.sha256, len(remote.etag)) == (2, None, 40)

    def test_renamed_repository_is_followed(self, hub):
        hub.add(REPO, 'config.json', b'{}', large=False)
        hub.statuses = [307]
        hub.headers = {'Location': f'/{REPO}/resolve/main/config.json'}
        assert web.look_up(f'{hub.url}/old/name/resolve/main/config.json').size == 2

    def test_server_without_head_is_asked_otherwise(self, hub):
        hub.add(REPO, 'config.json', b'{}', large=False)
        hub.statuses = [501]
        assert web.look_up(address(hub, 'config.json')).size == 2

    @pytest.mark.parametrize('length', [None, 'many', '-1'])
    def test_size_must_be_told(self, hub, length):
        hub.add(REPO, FILE, b'x')
        hub.described = {'X-Linked-Size': length or 'unknown'}
        with pytest.raises(WeightsError, match='does not say how large the file is'):
            web.look_up(address(hub))

    @pytest.mark.parametrize(
        ('status', 'message'),
        [
            (401, 'says 401 Unauthorized; set HF_TOKEN'),
            (403, 'says 403 Forbidden; ask for access on its page'),
            (404, 'says 404 Not Found; check HF_ENDPOINT'),
            (418, "says 418 I'm a Teapot"),
        ],
    )
    def test_refusal_is_final(self, hub, status, message):
        hub.statuses = [status]
        with pytest.raises(WeightsError, match=message) as caught:
            web.look_up(address(hub))
        assert not isinstance(caught.value, patience.TransientError)
        assert str(caught.value).startswith(address(hub))

    def test_reason_of_the_server_is_told_on_one_line(self, hub):
        hub.statuses = [403]
        hub.headers = {'X-Error-Message': 'gated\x1b[31m ' + 300 * 'x'}
        with pytest.raises(WeightsError) as caught:
            web.look_up(address(hub))
        assert 'gated [31m xxx' in str(caught.value)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 450

    @pytest.mark.parametrize(('asked', 'after_s'), [('7', 7), ('9999', 9999), ('tomorrow', 0)])
    def test_server_may_ask_for_a_pause(self, hub, asked, after_s):
        hub.statuses, hub.headers = [429], {'Retry-After': asked}
        with pytest.raises(patience.TransientError, match='says 429 Too Many Requests') as caught:
            web.look_up(address(hub))
        assert caught.value.after_s == after_s

    def test_redirect_loop_ends(self, hub):
        hub.loop = True
        with pytest.raises(WeightsError, match='redirects more than 10 times'):
            web.look_up(address(hub))
        assert len(hub.requests) == 11

    @pytest.mark.parametrize('target', ['file:///etc/hostname', 'ftp://x/y', 'data:,x'])
    def test_redirect_to_no_web_address_is_refused(self, hub, target):
        hub.statuses = [302]
        hub.headers = {'Location': target}
        with pytest.raises(WeightsError, match='no web address'):
            web.look_up(address(hub))


class TestToken:
    def authorizations(self, hub):
        return [headers.get('Authorization') for _, _, headers in hub.requests]

    def test_token_goes_to_the_hub_and_not_to_the_other_host(self, hub, monkeypatch):
        monkeypatch.setenv('HF_TOKEN', ' hf_secret\n')
        hub.add(REPO, FILE, b'x' * 10)
        with web.open_range(address(hub), 0, 10, 10) as response:
            assert response.read() == b'x' * 10
        assert self.authorizations(hub) == ['Bearer hf_secret', None]

    def test_token_of_the_log_in_file_is_used(self, hub, tmp_path):
        (tmp_path / 'hf').mkdir()
        (tmp_path / 'hf' / 'token').write_text('hf_filed\n')
        hub.add(REPO, FILE, b'x')
        web.look_up(address(hub))
        assert self.authorizations(hub) == ['Bearer hf_filed']

    def test_strange_token_is_not_repeated(self, hub, monkeypatch):
        monkeypatch.setenv('HF_TOKEN', 'two\nlines')
        with pytest.raises(WeightsError, match='characters that no token has') as caught:
            web.look_up(address(hub))
        assert 'two' not in str(caught.value)


class TestUnreachable:
    @pytest.mark.parametrize('endpoint', ['', 'huggingface.co', 'file:///etc', 'http://'])
    def test_address_must_be_one(self, endpoint):
        with pytest.raises(WeightsError, match='no web address'):
            web.look_up(f'{endpoint}/{REPO}')

    def test_nobody_listens(self):
        port = free_port()
        with pytest.raises(
            patience.TransientError, match=f'cannot reach 127.0.0.1:{port}: Connection refused'
        ):
            web.look_up(f'http://127.0.0.1:{port}/{REPO}')

    def test_unknown_host(self):
        with pytest.raises(patience.TransientError, match=r'cannot reach nowhere\.invalid: '):
            web.look_up(f'http://nowhere.invalid/{REPO}')

    def test_password_of_an_address_is_not_repeated(self):
        with pytest.raises(WeightsError) as caught:
            web.look_up(f'http://me:secret@127.0.0.1:{free_port()}/{REPO}')
        assert 'secret' not in str(caught.value)

    def test_proxy_is_used(self, hub, monkeypatch):
        hub.add(REPO, 'config.json', b'{}', large=False)
        monkeypatch.setenv('http_proxy', f'http://127.0.0.1:{free_port()}')
        monkeypatch.delenv('no_proxy', raising=False)
        with pytest.raises(patience.TransientError, match='https_proxy'):
            web.look_up(address(hub, 'config.json'))
        monkeypatch.setenv('no_proxy', '127.0.0.1')
        assert web.look_up(address(hub, 'config.json')).size == 2

    def test_silence_ends(self, monkeypatch):
        monkeypatch.setattr(web, 'TIMEOUT_S', 0.1)
        with (
            socket.create_server(('127.0.0.1', 0)) as mute,
            pytest.raises(patience.TransientError, match=r'no answer for 0\.1 s'),
        ):
            web.look_up(f'http://127.0.0.1:{mute.getsockname()[1]}/{REPO}')

    def test_nonsense_is_no_answer(self):
        with socket.create_server(('127.0.0.1', 0)) as server:

            def babble():
                with server.accept()[0] as connection:
                    connection.recv(1000)
                    connection.sendall(b'SSH-2.0-OpenSSH\r\n')

            thread = threading.Thread(target=babble)
            thread.start()
            with pytest.raises(patience.TransientError, match='cannot reach 127'):
                web.look_up(f'http://127.0.0.1:{server.getsockname()[1]}/{REPO}')
            thread.join()


class TestRange:
    def test_part_of_a_file(self, hub):
        hub.add(REPO, FILE, bytes(range(100)))
        assert web.read_range(address(hub), 10, 14, 100, silent) == b'\x0a\x0b\x0c\x0d'
        assert hub.sent == 4

    def test_ignored_range_is_told_before_the_content_comes(self, hub):
        hub.add(REPO, FILE, bytes(5_000_000))
        hub.ranges = False
        with pytest.raises(web.RangesIgnoredError, match='does not send parts of files'):
            web.read_range(address(hub), 10, 14, 5_000_000, silent)

    @pytest.mark.parametrize('told', ['bytes 0-3/100', 'bytes 10-13/99', 'bytes */100', ''])
    def test_other_bytes_than_asked_are_refused(self, hub, told):
        hub.add(REPO, FILE, bytes(100))
        hub.delivered = {'Content-Range': told}
        with pytest.raises(WeightsError, match='expected bytes 10-13/100'):
            web.read_range(address(hub), 10, 14, 100, silent)

    def test_cut_answer_is_asked_for_again(self, hub):
        hub.add(REPO, FILE, bytes(range(100)))
        hub.drops = [2, 3]
        lines = []
        assert web.read_range(address(hub), 10, 20, 100, lines.append) == bytes(range(10, 20))
        assert len(lines) == 2

    def test_signature_of_an_address_is_not_repeated(self, hub):
        hub.add(REPO, FILE, bytes(100))
        with pytest.raises(WeightsError, match='416') as caught:
            web.read_range(address(hub), 200, 300, 400, silent)
        assert 'fewer bytes than the server announced' in str(caught.value)
        assert 'secret' not in str(caught.value)
