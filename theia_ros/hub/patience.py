"""What may fail for a while: tried again, with growing pauses, and given up in the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from theia_ros.errors import WeightsError

Report = Callable[[str], None]
"""Gets one line for people."""
T = TypeVar('T')

PAUSES_S = (1.0, 2.0, 4.0, 8.0)
"""Between the tries."""
MAX_PAUSE_S = 60.0
"""However long a server asks us to wait."""


class TransientError(WeightsError):
    """A failure that may pass by itself.

    Attributes:
        after_s: Pause that the server asked for.
    """

    def __init__(self, message: str, after_s: float = 0.0) -> None:
        """Make the error for a message of one line."""
        super().__init__(message)
        self.after_s = after_s


class Patience:
    """Counts failures in a row."""

    def __init__(self, report: Report) -> None:
        """Start without failures; `report` gets a line before each pause."""
        self._report = report
        self._failures = 0

    def reset(self) -> None:
        """Forget the failures, because something was achieved."""
        self._failures = 0

    def wait(self, error: TransientError) -> None:
        """Pause before another try.

        Raises:
            WeightsError: There were enough.
        """
        if self._failures == len(PAUSES_S):
            raise WeightsError(f'{error} (tried {self._failures + 1} times)') from error
        pause_s = min(max(PAUSES_S[self._failures], error.after_s), MAX_PAUSE_S)
        self._failures += 1
        self._report(f'{error}; trying again in {pause_s:g} s')
        time.sleep(pause_s)


def patiently(work: Callable[[], T], report: Report) -> T:
    """Do what may fail for a while, and return its result.

    Raises:
        WeightsError: It failed too often in a row, or in a way that does not pass.
    """
    patience = Patience(report)
    while True:
        try:
            return work()
        except TransientError as exc:
            patience.wait(exc)
