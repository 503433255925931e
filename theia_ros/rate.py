"""A limit of how often something is done."""

from __future__ import annotations


class RateLimit:
    """Reach a mean rate, without a burst after a pause."""

    def __init__(self) -> None:
        """Allow the first time at once."""
        self._due_ns = 0

    def allows(self, now_ns: int) -> bool:
        """Tell whether enough time has passed."""
        return now_ns >= self._due_ns

    def count(self, now_ns: int, max_rate_hz: float) -> None:
        """Record that it is done now; a rate of 0 is no limit."""
        if not max_rate_hz:
            self._due_ns = 0
            return
        period_ns = round(1e9 / max_rate_hz)
        # From the due time on and not from now, so that the mean rate is reached; but from now on
        # after a pause, which would be made up for otherwise.
        self._due_ns += period_ns
        if self._due_ns <= now_ns:
            self._due_ns = now_ns + period_ns
