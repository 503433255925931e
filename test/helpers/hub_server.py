"""A real HTTP server that answers as the hub does, and can fail in the ways that networks do."""

import hashlib
import http.server
import re
import socket
import threading
import time

import numpy as np
from safetensors.numpy import save

COMMIT = '0123456789abcdef0123456789abcdef01234567'
CDN = '/signed/'
BLOCK = 1 << 16


class Hub:
    """What the server has, how it behaves, and what was asked of it.

    A large file is described by a redirect and held by another host, which takes GET only, since
    its addresses are signed. Faults in lists are used up one by one, each by one answer.
    """

    def __init__(self):
        self.files = {}  # path of the repository's file -> content
        self.large = set()  # those that are held by the other host
        self.requests = []  # (method, path, headers)
        self.sent = 0  # bytes of content
        self.statuses = []
        self.headers = {}  # of the answers with these statuses
        self.drops = []  # bytes after which the connection is cut
        self.ranges = True
        self.altered = False
        self.loop = False
        self.described = {}  # headers that are added or replaced, of what describes a file
        self.delivered = {}  # the same, of what holds the content
        self.pause_s = 0.0
        handler = type('Handler', (_Handler,), {'hub': self})
        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
        self.server.daemon_threads = True
        self.url = f'http://127.0.0.1:{self.server.server_port}'
        self.cdn = f'http://localhost:{self.server.server_port}{CDN}'

    def add(self, repo, file, content, large=True):
        self.files[f'/{repo}/{file}'] = content
        if large:
            self.large.add(f'/{repo}/{file}')

    def gets(self):
        return [path for method, path, _ in self.requests if method == 'GET']

    def wait_for_answers(self):
        """Wait until nothing is sent any more to a client that has gone."""
        before = -1
        while before != self.sent:
            before = self.sent
            time.sleep(0.2)

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exc):
        self.server.shutdown()
        self.server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.answer(with_content=False)

    def do_GET(self):
        self.answer(with_content=True)

    def answer(self, with_content):
        hub, path = self.hub, self.path.split('?')[0]
        hub.requests.append((self.command, path, dict(self.headers)))
        if hub.statuses:
            return self.reply(hub.statuses.pop(0), hub.headers)
        if hub.loop:
            return self.reply(302, {'Location': path})
        if path.startswith(CDN):
            if not with_content:
                return self.reply(403, {})
            key = next(key for key in hub.large if sha256(hub.files[key]) == path[len(CDN) :])
            return self.deliver(hub.files[key], {})
        # /owner/name/resolve/REVISION/file on the hub, /owner/name/REVISION/file on GitHub
        key = re.sub(rf'^(/[^/]+/[^/]+)(/resolve)?/(main|{COMMIT}|[0-9a-f]{{40}})/', r'\1/', path)
        if key not in hub.files:
            return self.reply(404, {'X-Error-Message': 'Entry not found'})
        content = hub.files[key]
        headers = {'X-Repo-Commit': COMMIT}
        if key in hub.large:
            headers |= {
                'X-Linked-Etag': f'"{sha256(content)}"',
                'X-Linked-Size': str(len(content)),
                'Location': f'{hub.cdn}{sha256(content)}?signature=secret',
            }
            return self.reply(302, headers | hub.described)
        headers |= {'ETag': f'"{hashlib.sha1(content).hexdigest()}"'} | hub.described
        if with_content:
            return self.deliver(content, headers)
        return self.reply(200, {'Content-Length': str(len(content)), **headers})

    def reply(self, status, headers):
        self.send_response(status)
        for name, value in {'Content-Length': '0', **headers}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        return

    def deliver(self, content, headers):
        hub = self.hub
        if hub.altered:
            content = content[:-1] + bytes([content[-1] ^ 1])
        status, begin, end = 200, 0, len(content)
        asked = re.fullmatch(r'bytes=(\d+)-(\d+)', self.headers.get('Range', ''))
        if asked and hub.ranges:
            begin, end = int(asked[1]), min(int(asked[2]) + 1, len(content))
            if begin >= end:
                return self.reply(416, {})
            status = 206
            headers |= {'Content-Range': f'bytes {begin}-{end - 1}/{len(content)}'}
        self.reply(status, {**headers, 'Content-Length': str(end - begin), **hub.delivered})
        cut = min(end, begin + hub.drops.pop(0)) if hub.drops else end
        try:
            for start in range(begin, cut, BLOCK):
                block = content[start : min(start + BLOCK, cut)]
                hub.sent += len(block)  # first, since a client may be done before a next line
                self.wfile.write(block)
                time.sleep(hub.pause_s)
            if cut < end:
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:  # the client was killed
            self.close_connection = True
        return None


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def weights(tensors=3, rows=64, columns=1024, prefix='layer'):
    """A safetensors file of some tensors with numbers that differ, some 800 kB."""
    rng = np.random.default_rng(7)
    return save(
        {
            f'{prefix}.{i}.weight': rng.standard_normal((rows, columns)).astype(np.float32)
            for i in range(tensors)
        },
        metadata={'format': 'pt'},
    )
