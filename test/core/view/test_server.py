"""The server over real HTTP and a real WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import AsyncIterator
from collections.abc import Coroutine
from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp import ClientWebSocketResponse
from aiohttp import WSMsgType
from aiohttp import WSServerHandshakeError

from theia_ros.errors import ParameterError
from theia_ros.view.hub import Hub
from theia_ros.view.hub import packed
from theia_ros.view.server import serving

FILES = {
    '': 'text/html',
    'style.css': 'text/css',
    'view.js': 'text/javascript',
    'icon.svg': 'image/svg+xml',
}


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 30))


class Page:
    """A served hub, and what a browser does with it."""

    def __init__(self, hub: Hub, url: str, session: ClientSession, wanted: list[frozenset[str]]):
        self.hub, self.url, self.session, self.wanted = hub, url, session, wanted

    async def live(self, **headers: str) -> ClientWebSocketResponse:
        return await self.session.ws_connect(f'{self.url}live', headers=headers)

    async def until(self, condition) -> None:
        while not condition():
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def page(host: str = '127.0.0.1') -> AsyncIterator[Page]:
    wanted: list[frozenset[str]] = []
    hub = Hub(wanted.append)
    hub.tell(packed({'pane': 'state'}), frozenset(['/a', '/b']))
    async with serving(hub, host, 0) as url, ClientSession() as session:
        yield Page(hub, url, session, wanted)


async def head_of(ws: ClientWebSocketResponse) -> tuple[dict[str, Any], bytes]:
    data = await ws.receive_bytes()
    length = int.from_bytes(data[:4], 'big')
    return json.loads(data[4 : 4 + length]), data[4 + length :]


def test_page_is_whole_and_asks_for_nothing_from_elsewhere() -> None:
    async def check() -> None:
        async with page() as p:
            assert re.fullmatch(r'http://127\.0\.0\.1:\d+/', p.url)
            for name, type_ in FILES.items():
                async with p.session.get(p.url + name) as answer:
                    assert answer.status == 200
                    assert answer.content_type == type_
                    assert answer.headers['X-Content-Type-Options'] == 'nosniff'
                    assert "default-src 'none'" in answer.headers['Content-Security-Policy']
                    text = (await answer.text()).replace('http://www.w3.org/2000/svg', '')
                    assert not re.search(r'https?://|//[\w.]+/|@import', text), name
                    assert 'innerHTML' not in text

    run(check())


@pytest.mark.parametrize(
    'path',
    [
        'server.py',
        '../server.py',
        '%2e%2e/server.py',
        'style.css/../../server.py',
        'page/index.html',
        'live/x',
        '.',
    ],
)
def test_nothing_else_is_served(path) -> None:
    async def check() -> None:
        async with page() as p:
            host, port = p.url.removeprefix('http://').rstrip('/').split(':')
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(f'GET /{path} HTTP/1.1\r\nHost: localhost\r\n\r\n'.encode())
            assert b' 404 ' in await reader.readline()
            writer.close()

    run(check())


def test_only_reading_is_possible() -> None:
    async def check() -> None:
        async with page() as p:
            for method in ('POST', 'PUT', 'DELETE', 'OPTIONS'):
                async with p.session.request(method, p.url) as answer:
                    assert answer.status == 405

    run(check())


def test_browser_gets_what_it_shows() -> None:
    async def check() -> None:
        async with page() as p:
            ws = await p.live()
            assert await head_of(ws) == ({'pane': 'state'}, b'')
            await ws.send_json({'show': ['/a', '/secret']})
            await p.until(lambda: p.wanted)
            p.hub.offer('/a', packed({'pane': '/a', 'hz': 3.0}, b'jpeg'))
            assert await head_of(ws) == ({'pane': '/a', 'hz': 3.0}, b'jpeg')
            p.hub.offer('/a', packed({'pane': '/a'}, b'old'))
            p.hub.offer('/a', packed({'pane': '/a'}, b'new'))
            await ws.send_json({'got': '/a'})
            assert await head_of(ws) == ({'pane': '/a'}, b'new')
            await ws.close()
            await p.until(lambda: p.wanted[-1] == frozenset())
            assert p.wanted == [frozenset(['/a']), frozenset()]

    run(check())


def test_browser_that_is_gone_wants_nothing_any_more() -> None:
    async def check() -> None:
        async with page() as p, ClientSession() as session:
            ws = await session.ws_connect(f'{p.url}live')
            await ws.send_json({'show': ['/a', '/b']})
            await p.until(lambda: p.wanted)
            ws._response.connection.transport.abort()  # as a killed browser does
            await p.until(lambda: p.wanted[-1] == frozenset())

    run(check())


def test_browser_that_does_not_read_makes_nothing_grow() -> None:
    async def check() -> None:
        async with page() as p:
            ws = await p.live()
            await ws.send_json({'show': ['/a']})
            await p.until(lambda: p.wanted)
            picture = packed({'pane': '/a'}, bytes(200_000))
            for _ in range(300):  # 60 MB
                p.hub.offer('/a', picture)
                await asyncio.sleep(0)
            (browser,) = p.hub._browsers
            assert len(browser._waiting) <= 1
            await head_of(ws)
            assert len((await head_of(ws))[1]) == 200_000
            with pytest.raises(asyncio.TimeoutError):
                await ws.receive(timeout=0.3)  # nothing more before it answers

    run(check())


@pytest.mark.parametrize(
    'text',
    [
        'hello',
        '[]',
        '{"show": "/a"}',
        '{"show": [1]}',
        '{"got": 3}',
        '{"do": "rm"}',
        '[' * 60_000,
        '"' + 'x' * 100_000 + '"',
    ],
    ids=lambda text: text[:16],
)
def test_what_is_not_understood_ends_the_connection(text) -> None:
    async def check() -> None:
        async with page() as p:
            ws = await p.live()
            await head_of(ws)
            await ws.send_str(text)
            msg = await ws.receive()
            assert msg.type is WSMsgType.CLOSE
            assert msg.data in (1008, 1009)
            assert p.wanted in ([], [frozenset()])

    run(check())


@pytest.mark.parametrize(
    ('host', 'origin', 'allowed'),
    [
        pytest.param('localhost:80', 'http://localhost:80', True, id='localhost'),
        pytest.param('127.0.0.1', 'http://127.0.0.1', True, id='address'),
        pytest.param('[::1]:9', 'http://[::1]:9', True, id='address-6'),
        pytest.param(socket.gethostname(), f'http://{socket.gethostname()}', True, id='own-name'),
        pytest.param('localhost', None, True, id='no-browser'),
        pytest.param('localhost', 'http://localhost:3000', False, id='other-port'),
        pytest.param('localhost', 'https://evil.example', False, id='other-page'),
        pytest.param('localhost', 'null', False, id='sandboxed-page'),
        pytest.param('evil.example:8224', 'http://evil.example:8224', False, id='rebinding'),
        pytest.param('localhost.evil.example', None, False, id='rebinding-without-origin'),
    ],
)
def test_other_pages_cannot_connect(host, origin, allowed) -> None:
    async def check() -> None:
        async with page() as p:
            headers = {'Host': host, **({'Origin': origin} if origin else {})}
            async with p.session.get(p.url, headers=headers) as answer:
                assert answer.status == (200 if allowed else 403)
            if allowed:
                await (await p.live(**headers)).close()
            else:
                with pytest.raises(WSServerHandshakeError, match='403'):
                    await p.live(**headers)

    run(check())


def test_port_in_use_is_one_line() -> None:
    async def check() -> None:
        with socket.socket() as taken:
            taken.bind(('127.0.0.1', 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(
                ParameterError, match=rf'port {port} of 127.0.0.1 is in use.*choose .* --port'
            ):
                async with serving(Hub(lambda _: None), '127.0.0.1', port):
                    pass

    run(check())


def test_unknown_host_is_one_line() -> None:
    async def check() -> None:
        with pytest.raises(
            ParameterError, match=r'cannot listen on 203\.0\.113\.7, port 0: .* --host'
        ):
            async with serving(Hub(lambda _: None), '203.0.113.7', 0):
                pass

    run(check())


def test_end_of_the_view_is_told() -> None:
    async def check() -> None:
        async with ClientSession() as session:
            hub = Hub(lambda _: None)
            async with serving(hub, '127.0.0.1', 0) as url:
                ws = await session.ws_connect(f'{url}live')
                closing = asyncio.create_task(ws.receive())
                await asyncio.sleep(0)
            msg = await closing
            assert msg.type is WSMsgType.CLOSE
            assert msg.data == 1001

    run(check())
