"""The view from its start to Ctrl-C: listens to ROS, and serves the page."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from theia_ros.view.hub import Hub
from theia_ros.view.hub import packed
from theia_ros.view.hub import STATE
from theia_ros.view.robot import Robot
from theia_ros.view.server import serving

_PATIENCE_S = 3.0
"""How long nodes have to be found before it is told that there are none."""


@dataclass(frozen=True)
class Settings:
    """What `theia-ros view` is asked for; see its help."""

    host: str
    port: int
    node: str
    rate_hz: float
    width_px: int
    open_browser: bool


def run(settings: Settings, say: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        settings: What is asked for.
        say: Is given lines for people.

    Raises:
        ParameterError: The address to listen on cannot be had.
    """
    asyncio.run(_run(settings, say))


async def _run(settings: Settings, say: Callable[[str], None]) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    robot: Robot | None = None

    def want(topics: frozenset[str]) -> None:
        if robot:
            robot.want(topics)

    hub = Hub(want)
    teller = _Teller(settings.node, say)

    def soon(callback: Callable[..., None], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(callback, *args)

    def tell(state: dict[str, Any], known: frozenset[str]) -> None:
        soon(hub.tell, packed({'pane': STATE, **state}), known)
        soon(teller.tell, state)

    async with serving(hub, settings.host, settings.port) as url:
        say(f'{url} shows the maps; Ctrl-C ends it')
        robot = Robot(
            settings.node,
            settings.rate_hz,
            settings.width_px,
            deliver=lambda pane, message: soon(hub.offer, pane, message),
            tell=tell,
        )
        try:
            if settings.open_browser:
                # It may wait for a browser that starts.
                loop.run_in_executor(None, webbrowser.open, url)
            await stop.wait()
        finally:
            ended, robot = robot, None  # browsers that leave from now on change nothing
            # Its threads may be waiting to hand something to this loop.
            await asyncio.to_thread(ended.close)


class _Teller:
    """Tell on the terminal which nodes there are, once each."""

    def __init__(self, node: str, say: Callable[[str], None]) -> None:
        self._wanted = f'node {node}' if node else 'encoder node'
        self._say = say
        self._told: dict[str, bool] = {}
        self._began_s = asyncio.get_running_loop().time()
        self._waiting = False

    def tell(self, state: dict[str, Any]) -> None:
        """Tell what is new in a state."""
        for node in state['nodes']:
            if not node['info']:
                continue
            there = node['away_s'] is None
            if there != self._told.get(node['name']):
                self._told[node['name']] = there
                cameras = ', '.join(camera['name'] for camera in node['cameras'])
                model = node['info']['model']
                what = f'{model}, cameras {cameras}' if there else 'is away; waiting for it'
                self._say(f'{node["name"]}: {what}')
        late = asyncio.get_running_loop().time() - self._began_s > _PATIENCE_S
        if late and not self._told and not self._waiting:
            self._waiting = True
            self._say(f'no {self._wanted} on ROS domain {state["domain"]} so far; waiting for it')
