"""A box with one place per sender: the newest item wins, and the lost ones are counted."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Generic
from typing import TypeVar

T = TypeVar('T')


class Latest(Generic[T]):
    """Hold the newest item of each sender until somebody takes it.

    Whoever waits longest is taken first, so no sender starves another however fast it sends.
    """

    def __init__(self, most: int) -> None:
        """Make an empty, open box; `most` limits how many senders are taken at once."""
        self._most = most
        self._ready = threading.Condition()
        self._items: dict[str, T] = {}
        self._closed = False
        self._replaced: Counter[str] = Counter()

    def put(self, sender: str, item: T) -> None:
        """Store an item, replacing the sender's last one if nobody took it."""
        with self._ready:
            if sender in self._items:
                # Replacing keeps the sender's place in the queue: dicts keep insertion order.
                self._replaced[sender] += 1
            self._items[sender] = item
            self._ready.notify()

    def take(self) -> dict[str, T] | None:
        """Wait for items and return those of the senders that wait longest; None once closed."""
        with self._ready:
            self._ready.wait_for(lambda: self._items or self._closed)
            if self._closed:
                return None
            senders = list(self._items)[: self._most]
            return {sender: self._items.pop(sender) for sender in senders}

    def empty(self) -> bool:
        """Tell whether nothing waits to be taken."""
        with self._ready:
            return not self._items

    def replaced(self, sender: str) -> int:
        """Return how many items of a sender were replaced before anybody took them."""
        with self._ready:
            return self._replaced[sender]

    def close(self) -> None:
        """Wake whoever waits and give nothing more."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()
