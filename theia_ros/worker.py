"""A thread that works, and a place to hand its results on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic
from typing import Protocol
from typing import TypeVar

T = TypeVar('T')
Piece = TypeVar('Piece', covariant=True)


class Source(Protocol[Piece]):
    """Where a worker finds its work."""

    def take(self) -> Piece | None:
        """Wait for work and return it; None once there will be no more."""

    def close(self) -> None:
        """Let `take` return None as soon as possible."""


class Worker(Generic[T]):
    """Hand everything that comes from a source to `work`, one piece at a time.

    `work` must deal with the errors that it expects. One that it lets through is a bug: it is
    given to `failed`, and the thread goes on with the next piece.
    """

    def __init__(
        self, source: Source[T], work: Callable[[T], None], failed: Callable[[Exception], None]
    ) -> None:
        """Start to work."""
        self._source = source
        self._work = work
        self._failed = failed
        self._thread = threading.Thread(target=self._run, name='theia-worker', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the source, finish the piece in hand and end the thread."""
        self._source.close()
        self._thread.join()

    def _run(self) -> None:
        while (piece := self._source.take()) is not None:
            try:
                self._work(piece)
            except Exception as exc:
                self._failed(exc)


class Handover(Generic[T]):
    """A source with one place, in which nothing is lost: `put` waits until it is free."""

    def __init__(self) -> None:
        """Make an empty, open place."""
        self._changed = threading.Condition()
        self._piece: T | None = None
        self._closed = False

    def put(self, piece: T) -> None:
        """Wait until the place is free, and leave a piece there."""
        with self._changed:
            self._changed.wait_for(lambda: self._piece is None)
            self._piece = piece
            self._changed.notify_all()

    def take(self) -> T | None:
        """Wait for a piece and return it; None once closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._piece is not None or self._closed)
            piece, self._piece = self._piece, None
            self._changed.notify_all()
            return piece

    def close(self) -> None:
        """Let `take` return None after the piece that is there."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
