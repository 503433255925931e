"""Pictures of several cameras that were taken at one instant, up to a tolerance."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Generic
from typing import TypeVar

T = TypeVar('T')

_KEEP = 32
"""Items kept for each sender; more than a second at 30 Hz."""


class Synchronizer(Generic[T]):
    """Join the items of several senders by their stamps.

    Whenever every sender has an item within `tolerance_ns` of all the others, the newest such
    set is given and everything older is forgotten. A sender that falls silent holds back sets,
    not memory. One whose clock jumps back begins anew.
    """

    def __init__(self, senders: Sequence[str], tolerance_ns: int) -> None:
        """Wait for items of all `senders`."""
        self._tolerance_ns = tolerance_ns
        self._items: dict[str, dict[int, T]] = {sender: {} for sender in senders}
        self._dropped: Counter[str] = Counter()
        self._lock = threading.Lock()

    def put(self, sender: str, stamp_ns: int, item: T) -> dict[str, T]:
        """Take in an item and return the set that it completes, or nothing."""
        with self._lock:
            own = self._items[sender]
            if own and stamp_ns <= max(own):  # sent twice, or the clock jumped back
                self._forget(sender, list(own))
            own[stamp_ns] = item
            if len(own) > _KEEP:
                self._forget(sender, [min(own)])
            return self._newest_set()

    def dropped(self, sender: str) -> int:
        """Return how many items of a sender found no partners."""
        with self._lock:
            return self._dropped[sender]

    def _newest_set(self) -> dict[str, T]:
        if not all(self._items.values()):
            return {}
        # The newest instant that all can have reached is where the slowest sender is.
        goal_ns = min(max(items) for items in self._items.values())
        stamps = {
            sender: min(items, key=lambda stamp_ns: abs(stamp_ns - goal_ns))
            for sender, items in self._items.items()
        }
        if max(stamps.values()) - min(stamps.values()) > self._tolerance_ns:
            return {}
        found = {sender: self._items[sender].pop(stamp_ns) for sender, stamp_ns in stamps.items()}
        for sender, stamp_ns in stamps.items():
            self._forget(sender, [s for s in self._items[sender] if s < stamp_ns])
        return found

    def _forget(self, sender: str, stamps: Sequence[int]) -> None:
        for stamp_ns in stamps:
            del self._items[sender][stamp_ns]
        self._dropped[sender] += len(stamps)
