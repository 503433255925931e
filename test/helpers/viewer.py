"""`theia-ros view` in a process of its own, and a browser without a screen."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from aiohttp import ClientSession
from aiohttp import WSMsgType
from helpers.ros_peer import GENEROUS_S
from helpers.ros_peer import ROOT


class View:
    """The command, and what it says.

    Attributes:
        process: As subprocess made it.
    """

    def __init__(self, folder: Path, *arguments: str, port: int = 0) -> None:
        """Start it on a free port, unless told otherwise."""
        self._out, self._err = folder / 'view.out', folder / 'view.err'
        with self._out.open('w') as out, self._err.open('w') as err:
            self.process = subprocess.Popen(
                [sys.executable, '-m', 'theia_ros.cli', 'view', '--port', str(port), *arguments],
                stdout=out,
                stderr=err,
                cwd=ROOT,
                env=os.environ,
            )

    @property
    def said(self) -> str:
        """All that it has written so far."""
        return self._out.read_text() + self._err.read_text()

    @property
    def stderr(self) -> str:
        """What it has written to stderr so far."""
        return self._err.read_text()

    @property
    def url(self) -> str:
        """Where the page is, once it is there."""
        self.wait_for(' shows the maps')
        return re.search(r'http://\S+', self.said)[0]

    def wait_for(self, text: str) -> None:
        """Wait until it says something that contains `text`."""
        end = time.monotonic() + GENEROUS_S
        while text not in self.said:
            assert self.process.poll() is None, f'it ended; it said:\n{self.said}'
            assert time.monotonic() < end, f'expected {text!r}; it said:\n{self.said}'
            time.sleep(0.02)

    def stop(self, number: int) -> int:
        """Send a signal, wait for its end and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(GENEROUS_S)

    def close(self) -> None:
        """End it, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


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
