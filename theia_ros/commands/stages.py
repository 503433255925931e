"""Tell on the error stream what a long command is doing, and for how long."""

from __future__ import annotations

import sys
import threading
import time
from typing import TextIO

_TICK_S = 0.5
# How the engine cache begins to tell why it builds.
_BUILDS = ': building, '


class Stages:
    """Show the stage and the seconds since the start: one line on a terminal, else a line each.

    Call it with each stage; use it as a context manager.
    """

    def __init__(self, delay_s: float = 2.0, stream: TextIO | None = None) -> None:
        """Prepare to show.

        Args:
            delay_s: What is done sooner shows nothing.
            stream: Where to; the error stream by default.
        """
        self._stream = stream or sys.stderr
        self._one_line = self._stream.isatty()
        self._delay_s, self._started = delay_s, time.monotonic()
        self._stage, self._shown, self._width = '', '', 0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def __call__(self, stage: str) -> None:
        """Begin a stage; that something is built, and why, is always shown, and stays."""
        builds = _BUILDS in stage
        with self._lock:
            self._stage = stage
            if builds:
                self._delay_s = 0.0
            self._show()
            if builds and self._one_line:
                self._stream.write('\n')
                self._stage, self._width = '', 0

    def __enter__(self) -> Stages:
        """Start the clock."""
        self._ticker.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it, and clear the line."""
        self._over.set()
        self._ticker.join()
        self.clear()

    def clear(self) -> None:
        """End the stage and clear its line, so that something else can be written."""
        with self._lock:
            self._stage = ''
            if self._one_line and self._width:
                self._stream.write('\r' + ' ' * self._width + '\r')
                self._stream.flush()
                self._width = 0

    def _tick(self) -> None:
        while not self._over.wait(_TICK_S):
            with self._lock:
                self._show()

    def _show(self) -> None:
        elapsed_s = time.monotonic() - self._started
        if not self._stage or elapsed_s < self._delay_s:
            return
        if self._one_line:
            line = f'{elapsed_s:5.0f} s  {self._stage}'
            self._stream.write('\r' + line.ljust(self._width))
            self._width = len(line)
        elif self._stage != self._shown:
            self._stream.write(f'{elapsed_s:5.0f} s  {self._stage}\n')
        self._shown = self._stage
        self._stream.flush()
