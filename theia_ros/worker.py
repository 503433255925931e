"""A thread that works on what comes, and work that is done in order, here or beside."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
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


class InOrder(Generic[T]):
    """Hand pieces to `work` in their order: here and now, or beside what the caller does next.

    Here is sooner, since no other thread has to wake up for it; beside lets the caller go on.
    """

    def __init__(self, work: Callable[[T], None], failed: Callable[[Exception], None]) -> None:
        """Prepare a thread for what is done beside.

        Args:
            work: As for `Worker`.
            failed: As for `Worker`.
        """
        self._work = work
        self._failed = failed
        self._thread = ThreadPoolExecutor(1, 'theia-beside')
        self._last: Future[None] = self._thread.submit(lambda: None)

    def do(self, piece: T, beside: bool) -> None:
        """Wait for the last piece, and work on the next."""
        self._last.result()
        if beside:
            self._last = self._thread.submit(self._try, piece)
        else:
            self._try(piece)

    def stop(self) -> None:
        """Finish the piece in hand and end the thread."""
        self._thread.shutdown()

    def _try(self, piece: T) -> None:
        try:
            self._work(piece)
        except Exception as exc:
            self._failed(exc)
