"""Processes that tests start, and what they say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
GENEROUS_S = 40.0
"""How long a test waits for what must come; only failing tests wait as long."""


class Process:
    """A process of its own, with what it says in files.

    Attributes:
        process: As subprocess made it.
    """

    def __init__(
        self, folder: Path, name: str, *command: str, environment: dict[str, str] | None = None
    ) -> None:
        """Start python with a command."""
        self._out, self._err = folder / f'{name}.out', folder / f'{name}.err'
        with self._out.open('w') as out, self._err.open('w') as err:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                stdout=out,
                stderr=err,
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
            )

    @property
    def said(self) -> str:
        """All that it has written so far, logs first."""
        return self._out.read_text() + self._err.read_text()

    @property
    def stderr(self) -> str:
        """What it has written to stderr so far."""
        return self._err.read_text()

    def wait(self, timeout_s: float = GENEROUS_S) -> int:
        """Wait for its end and return the exit status."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f'the process did not end within {timeout_s} s; it said:\n{self.said}'
            ) from None

    def stop(self, number: int = signal.SIGINT, timeout_s: float = GENEROUS_S) -> int:
        """Send a signal, wait for its end and return the exit status."""
        self.process.send_signal(number)
        return self.wait(timeout_s)

    def wait_for(self, text: str) -> None:
        """Wait until it says something that contains `text`."""
        end = time.monotonic() + GENEROUS_S
        while text not in self.said:
            assert self.process.poll() is None, f'it ended; it said:\n{self.said}'
            assert time.monotonic() < end, f'expected {text!r}; it said:\n{self.said}'
            time.sleep(0.02)

    def __enter__(self) -> Process:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
