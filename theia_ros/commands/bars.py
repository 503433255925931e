"""A progress bar for each stage of a long command, on the error stream."""

from __future__ import annotations

from tqdm import tqdm


class Bars:
    """One bar at a time: a stage that begins ends the one before it.

    Call it with what is being done, how much of it is, and how much there is. What comes after a
    comma may change without a new bar. Use it as a context manager.
    """

    def __init__(self, delay_s: float = 2.0) -> None:
        """Prepare to show; what is done sooner than `delay_s` shows nothing."""
        self._delay_s = delay_s
        self._stage = ''
        self._bar: tqdm[None] | None = None

    def __call__(self, doing: str, done: int, total: int) -> None:
        """Tell how far a stage is."""
        stage, _, said = doing.partition(',')
        if stage != self._stage or self._bar is None:
            self._end()
            self._stage = stage
            self._bar = tqdm(total=total, initial=done, desc=stage, delay=self._delay_s)
        if said:
            self._bar.set_postfix_str(said.strip(), refresh=False)
        self._bar.update(done - self._bar.n)

    def __enter__(self) -> Bars:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the last bar."""
        self._end()

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.close()
