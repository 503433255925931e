"""The page and its live connection, for browsers; nothing else is served.

A browser sends `{"show": [pane, ...]}` when what it shows changes, and `{"got": pane}` when it has
shown a message of that pane; `hub.packed` tells what it is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import json
import socket
from collections.abc import AsyncIterator
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp import WSMsgType

from theia_ros.errors import ParameterError
from theia_ros.view.hub import Browser
from theia_ros.view.hub import Hub

_PAGE = Path(__file__).parent / 'page'
_FILES = {
    '/': ('index.html', 'text/html'),
    '/style.css': ('style.css', 'text/css'),
    '/view.js': ('view.js', 'text/javascript'),
    '/icon.svg': ('icon.svg', 'image/svg+xml'),
}
_HEADERS = {
    # Nothing from elsewhere, nothing inside another page, and no script but ours.
    'Content-Security-Policy': "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
    'Cache-Control': 'no-store',
}
_LONGEST_MESSAGE = 1 << 16
_HEARTBEAT_S = 10.0
"""A browser that answers no ping for half as long is gone."""
_END_S = 1.0


@contextlib.asynccontextmanager
async def serving(hub: Hub, host: str, port: int) -> AsyncIterator[str]:
    """Serve until the end of the context.

    Args:
        hub: The hub that browsers join.
        host: Address to listen on.
        port: To listen on; 0 takes a free one.

    Returns:
        Where the page is.

    Raises:
        ParameterError: The address cannot be had.
    """
    sockets: set[web.WebSocketResponse] = set()
    runner = web.AppRunner(_application(hub, sockets), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except (OSError, OverflowError) as exc:
            raise ParameterError(_refusal(host, port, exc)) from exc
        taken = runner.addresses[0][1]
        yield f'http://{_for_people(host)}:{taken}/'
    finally:
        await _within(_END_S, *(ws.close(code=1001, message=b'the view ends') for ws in sockets))
        await _within(_END_S, runner.cleanup())


async def _within(seconds: float, *work: Coroutine[Any, Any, Any]) -> None:
    """Do all of this, but wait no longer than so long: a browser may not answer any more."""
    if work:
        await asyncio.wait([asyncio.ensure_future(part) for part in work], timeout=seconds)


def _application(hub: Hub, sockets: set[web.WebSocketResponse]) -> web.Application:
    app = web.Application(middlewares=[_guarded])
    for path, (name, type_) in _FILES.items():
        # Read once: what is served does not depend on what a browser asks for.
        app.router.add_get(path, _file((_PAGE / name).read_bytes(), type_))

    async def live(request: web.Request) -> web.WebSocketResponse:
        # Pictures are compressed already.
        ws = web.WebSocketResponse(
            heartbeat=_HEARTBEAT_S, max_msg_size=_LONGEST_MESSAGE, compress=False
        )
        await ws.prepare(request)
        sockets.add(ws)
        browser = hub.join()
        sender = asyncio.create_task(_send(ws, browser))
        try:
            async for msg in ws:
                if msg.type is not WSMsgType.TEXT or not _obey(hub, browser, msg.data):
                    await ws.close(code=1008, message=b'not understood')
        finally:
            hub.leave(browser)
            sockets.discard(ws)
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
        return ws

    app.router.add_get('/live', live)
    return app


async def _send(ws: web.WebSocketResponse, browser: Browser) -> None:
    with contextlib.suppress(ConnectionError, RuntimeError):  # it goes at the same moment
        while True:
            await ws.send_bytes(await browser.next())


def _obey(hub: Hub, browser: Browser, text: str) -> bool:
    """Do what a browser asks for; tell whether it can be understood."""
    try:
        asked = json.loads(text)
    except (ValueError, RecursionError):
        return False
    match asked:
        case {'got': str(pane)}:
            browser.got(pane)
        case {'show': [*panes]} if all(isinstance(pane, str) for pane in panes):
            hub.show(browser, panes)
        case _:
            return False
    return True


def _file(body: bytes, type_: str) -> Any:
    async def give(request: web.Request) -> web.Response:
        return web.Response(body=body, content_type=type_, charset='utf-8')

    return give


@web.middleware
async def _guarded(request: web.Request, handler: Any) -> web.StreamResponse:
    """Answer our own page only.

    Any page that the user looks at may ask this computer for something, under the name of another
    (DNS rebinding) or for a connection, which browsers do not keep to one origin.
    """
    origin = request.headers.get('Origin')
    if not _is_ours(request.host) or origin not in (None, f'{request.scheme}://{request.host}'):
        return web.Response(status=403, text='theia-ros view: asked for from another page\n')
    try:
        response: web.StreamResponse = await handler(request)
    except web.HTTPException as exc:
        exc.headers.update(_HEADERS)
        raise
    if not response.prepared:
        response.headers.update(_HEADERS)
    return response


def _is_ours(host: str) -> bool:
    """Tell whether a Host header can be of this computer: an address, or one of its names."""
    name = host.rpartition(':')[0] if host.rpartition(':')[2].isdecimal() else host
    with contextlib.suppress(ValueError):
        return bool(ipaddress.ip_address(name.strip('[]')))
    own = socket.gethostname().lower()
    return name.lower() in ('localhost', own, f'{own}.local', own.partition('.')[0])


def _for_people(host: str) -> str:
    """Return the name under which a browser finds a listener on `host`."""
    if host in ('0.0.0.0', '::'):
        return socket.gethostname()
    return f'[{host}]' if ':' in host else host


def _refusal(host: str, port: int, error: Exception) -> str:
    number = getattr(error, 'errno', None)
    if number == errno.EADDRINUSE:
        return (
            f'port {port} of {host} is in use, maybe by another view; choose another with --port'
        )
    if number == errno.EACCES:
        return f'port {port} needs more rights than you have; choose one above 1023 with --port'
    reason = getattr(error, 'strerror', None) or error
    return f'cannot listen on {host}, port {port}: {reason}; check --host and --port'
