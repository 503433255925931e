"""What came from one source, in the order of its stamps, as far back as somebody may look."""

from __future__ import annotations

from bisect import bisect_right
from typing import Generic
from typing import NamedTuple
from typing import TypeVar

T = TypeVar('T')


class Stamped(NamedTuple, Generic[T]):
    """An item and the time that it is of, nanoseconds."""

    stamp_ns: int
    item: T


class Track(Generic[T]):
    """Keep the newest items of a source, and find the one that was the newest at some time.

    An item that is older than the newest comes from a clock that jumped back, and begins the
    track anew; unless it is older by `disorder_ns` or less, then it takes its place among the
    others. Of two items with one stamp the later replaces the earlier.
    """

    def __init__(self, keep_ns: int, disorder_ns: int = 0) -> None:
        """Make an empty track.

        Args:
            keep_ns: How far before the newest item somebody may look, nanoseconds.
            disorder_ns: How much later than a newer item one may come; more is a clock that
                jumped.
        """
        self._keep_ns = keep_ns
        self._disorder_ns = disorder_ns
        self._stamps: list[int] = []
        self._items: list[T] = []

    @property
    def newest(self) -> Stamped[T] | None:
        """The newest item; None when there is none."""
        return self._at(len(self._stamps) - 1)

    @property
    def oldest(self) -> Stamped[T] | None:
        """The oldest item that is kept; None when there is none."""
        return self._at(0)

    def put(self, stamp_ns: int, item: T) -> None:
        """Take an item in, and forget those that nobody can ask for any more."""
        if self._stamps and stamp_ns < self._stamps[-1] - self._disorder_ns:
            self.clear()
        i = bisect_right(self._stamps, stamp_ns)
        if i and self._stamps[i - 1] == stamp_ns:
            self._items[i - 1] = item
        else:
            self._stamps.insert(i, stamp_ns)
            self._items.insert(i, item)
        # One more than those of the time kept: it was still the newest when that time began.
        useless = bisect_right(self._stamps, self._stamps[-1] - self._keep_ns) - 1
        if useless > 0:
            del self._stamps[:useless], self._items[:useless]

    def as_of(self, stamp_ns: int) -> Stamped[T] | None:
        """Return the newest item of this time or before it; None when there is none."""
        return self._at(bisect_right(self._stamps, stamp_ns) - 1)

    def clear(self) -> None:
        """Forget everything."""
        self._stamps.clear()
        self._items.clear()

    def __len__(self) -> int:
        """Return how many items are kept."""
        return len(self._stamps)

    def _at(self, i: int) -> Stamped[T] | None:
        return Stamped(self._stamps[i], self._items[i]) if 0 <= i < len(self._stamps) else None
