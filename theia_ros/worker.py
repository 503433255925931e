"""A thread that serves a box."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic
from typing import TypeVar

from theia_ros.latest import Latest

T = TypeVar('T')


class Worker(Generic[T]):
    """Hand everything that arrives in a box to `work`, one batch at a time.

    `work` must deal with the errors that it expects. One that it lets through is a bug: it is
    given to `failed`, and the thread goes on with the next batch.
    """

    def __init__(
        self,
        box: Latest[T],
        work: Callable[[dict[str, T]], None],
        failed: Callable[[Exception], None],
        *,
        most: int,
    ) -> None:
        """Start serving; `most` limits the size of a batch."""
        self._box = box
        self._work = work
        self._failed = failed
        self._most = most
        self._thread = threading.Thread(target=self._run, name='theia-worker', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the box, finish the batch in hand and end the thread."""
        self._box.close()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._box.take(self._most):
            try:
                self._work(batch)
            except Exception as exc:
                self._failed(exc)
