"""`theia-ros view` in a process of its own, and a browser without a screen."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from pathlib import Path
from typing import Any

from aiohttp import ClientSession
from aiohttp import WSMsgType
from helpers.process import GENEROUS_S
from helpers.process import Process


class View(Process):
    """The command, and what it says."""

    def __init__(self, folder: Path, *arguments: str, port: int = 0) -> None:
        """Start it on a free port, unless told otherwise."""
        command = ('-m', 'theia_ros.cli', 'view', '--port', str(port), *arguments)
        super().__init__(folder, 'view', *command)

    @property
    def url(self) -> str:
        """Where the page is, once it is there."""
        self.wait_for(' shows the maps')
        return re.search(r'http://\S+', self.said)[0]


class Browser:
    """What a page does: it asks for panes, and tells of each message that it has it.

    Attributes:
        states: All that it was told, oldest first.
        pictures: Heads and bytes of all pictures, by pane, oldest first.
        ended: The connection is closed.
    """

    def __init__(self, url: str) -> None:
        """Connect."""
        self.states: list[dict[str, Any]] = []
        self.pictures: dict[str, list[tuple[dict[str, Any], bytes]]] = {}
        self.ended = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._do(self._connect(url))
        self._reading = asyncio.run_coroutine_threadsafe(self._read(), self._loop)

    @property
    def nodes(self) -> dict[str, dict[str, Any]]:
        """Newest state of each node, by name."""
        return {node['name']: node for node in self.states[-1]['nodes']} if self.states else {}

    def panes(self, node: str) -> dict[str, str]:
        """Return the topic of each pane of a node's first camera, by title."""
        cameras = self.nodes.get(node, {}).get('cameras') or [{'panes': []}]
        return {pane['title']: pane['topic'] for pane in cameras[0]['panes']}

    def show(self, *panes: str) -> None:
        """Ask for these panes and no others."""
        self._do(self._ws.send_str(json.dumps({'show': panes})))

    def close(self) -> None:
        """Close the connection."""
        if self._thread.is_alive():
            self._do(self._session.close())
            self._reading.result(GENEROUS_S)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(GENEROUS_S)

    async def _connect(self, url: str) -> None:
        self._session = ClientSession()
        self._ws = await self._session.ws_connect(f'{url}live')

    async def _read(self) -> None:
        async for msg in self._ws:
            assert msg.type is WSMsgType.BINARY, msg
            length = int.from_bytes(msg.data[:4], 'big')
            head, data = json.loads(msg.data[4 : 4 + length]), msg.data[4 + length :]
            if head['pane'] == 'state':
                self.states.append(head)
            else:
                self.pictures.setdefault(head['pane'], []).append((head, data))
            await self._ws.send_str(json.dumps({'got': head['pane']}))
        self.ended = True
