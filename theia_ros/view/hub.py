"""What browsers want, and the newest that there is for each of them.

Everything here runs on the thread of one asyncio loop.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
from typing import Any

STATE = 'state'
"""What is sent of the node itself, beside the panes; no topic has this name."""


def packed(head: Mapping[str, Any], data: bytes = b'') -> bytes:
    """Return a message for browsers.

    It is the length of a JSON text, 4 bytes big endian, the text, and the bytes of a picture.
    """
    text = json.dumps(head, allow_nan=False).encode()
    return len(text).to_bytes(4, 'big') + text + data


class Browser:
    """The newest message of each pane, for one browser.

    A pane has at most one message under way: the next is sent when the browser has told that it
    shows the last one. So a slow browser gets fewer pictures, and neither side piles any up.
    """

    def __init__(self) -> None:
        """Make one that has seen nothing and wants nothing but the state."""
        self.shown: frozenset[str] = frozenset()
        self._waiting: dict[str, bytes] = {}
        self._under_way: set[str] = set()
        self._changed = asyncio.Event()

    def offer(self, pane: str, message: bytes) -> None:
        """Put a message in the place of the pane's last one, if the browser shows it."""
        if pane == STATE or pane in self.shown:
            self._waiting[pane] = message  # a message that is replaced leaves its turn to this
            self._changed.set()

    def show(self, panes: frozenset[str]) -> None:
        """Let only these be sent."""
        self.shown = panes
        for pane in self._waiting.keys() - panes - {STATE}:
            del self._waiting[pane]

    def got(self, pane: str) -> None:
        """Take note that the browser shows what it was sent."""
        self._under_way.discard(pane)
        self._changed.set()

    async def next(self) -> bytes:
        """Wait for the message whose turn it is."""
        while True:
            for pane in self._waiting:
                if pane not in self._under_way:
                    self._under_way.add(pane)
                    return self._waiting.pop(pane)
            self._changed.clear()
            await self._changed.wait()


class Hub:
    """All browsers, and what they want together."""

    def __init__(self, want: Callable[[frozenset[str]], None]) -> None:
        """Make a hub without browsers.

        Args:
            want: Is told the panes that somebody shows, whenever they change.
        """
        self._want = want
        self._wanted: frozenset[str] = frozenset()
        self._browsers: set[Browser] = set()
        self._known: frozenset[str] = frozenset()
        self._state = b''

    def join(self) -> Browser:
        """Return a new browser, which is told the state at once."""
        browser = Browser()
        self._browsers.add(browser)
        if self._state:
            browser.offer(STATE, self._state)
        return browser

    def leave(self, browser: Browser) -> None:
        """Forget a browser and what it wanted."""
        self._browsers.discard(browser)
        self._tell()

    def show(self, browser: Browser, panes: Collection[str]) -> None:
        """Let a browser have these panes; those that nobody offers it does not get."""
        browser.show(self._known.intersection(panes))
        self._tell()

    def offer(self, pane: str, message: bytes) -> None:
        """Hand a picture to every browser that shows the pane."""
        for browser in self._browsers:
            browser.offer(pane, message)

    def tell(self, state: bytes, known: frozenset[str]) -> None:
        """Tell every browser the state.

        Args:
            state: As it is sent.
            known: Panes that can be shown.
        """
        self._state, self._known = state, known
        self.offer(STATE, state)

    def _tell(self) -> None:
        wanted = frozenset[str]().union(*(browser.shown for browser in self._browsers))
        if wanted != self._wanted:
            self._wanted = wanted
            self._want(wanted)
