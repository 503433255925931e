"""Ask a question in a process of its own, which may crash, hang or call `exit` without harm.

Importing a broken binary package can end the process that tries. So whatever is imported or opened
to be looked at is imported or opened there; see `probes.py`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
"""Of the repository; of an installed package, the folder that it lies in."""
MARK = '\x1e'
"""Begins the lines that are for us; libraries write to the same stream."""
PATIENCE_S = 180.0
"""Importing torch for the first time takes a minute on a small computer."""

_MOST_SAID = 4000


@dataclass(frozen=True)
class Outcome:
    """What became of a question.

    Attributes:
        answer: What the probe returned; empty if it failed.
        failure: How it failed, in one line; empty if it did not.
        said: The end of what it wrote on its error stream.
    """

    answer: Mapping[str, Any] = field(default_factory=dict)
    failure: str = ''
    said: str = ''


def ask(
    probe: str,
    arguments: Mapping[str, Any] | None = None,
    *,
    patience_s: float | None = PATIENCE_S,
    report: Callable[[str], None] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Outcome:
    """Run a probe and return what became of it.

    Args:
        probe: Name of a function of `probes.py`.
        arguments: For it.
        patience_s: It is ended after so long; None waits as long as it takes.
        report: Is told the stages that the probe reports.
        environ: Its variables; by default those of this process.
    """
    command = [sys.executable, '-m', 'theia_ros.doctor.probes', probe, json.dumps(arguments or {})]
    try:
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                errors='replace',
                env=_with_us(os.environ if environ is None else environ),
                start_new_session=True,  # so that it can be ended with all that it started
            )
            answer, code, late = _wait(process, patience_s, report)
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - _MOST_SAID))
            said = errors.read().decode(errors='replace')
    except OSError as exc:
        return Outcome(failure=f'no process can be started: {exc}')
    if answer is not None:  # whatever became of the process after that
        failure = answer.get('failure', '')
        return Outcome({} if failure else answer, failure, said)
    if late:
        return Outcome(failure=f'it gave no answer within {patience_s:.0f} s', said=said)
    if code < 0:
        return Outcome(failure=f'it crashed with {_signal_name(-code)}', said=said)
    return Outcome(failure=_last_line(said) or f'it ended with status {code}', said=said)


def _with_us(environ: Mapping[str, str]) -> dict[str, str]:
    """Return variables with which the other process finds this package, wherever it runs."""
    path = [environ['PYTHONPATH']] if environ.get('PYTHONPATH') else []
    # Last: whatever the user has put first on the path stays there.
    return {**environ, 'PYTHONPATH': os.pathsep.join([*path, str(ROOT)])}


def _wait(
    process: subprocess.Popen[str],
    patience_s: float | None,
    report: Callable[[str], None] | None,
) -> tuple[dict[str, Any] | None, int, bool]:
    """Wait for a probe; return its answer, its status, and whether patience was over."""
    late = threading.Event()
    watch = threading.Timer(patience_s or 0, _give_up, (process, late))
    if patience_s:
        watch.start()
    try:
        answer = _listen(process, report)
        return answer, process.wait(), late.is_set()
    finally:
        watch.cancel()
        _end(process)


def _listen(
    process: subprocess.Popen[str], report: Callable[[str], None] | None
) -> dict[str, Any] | None:
    """Read what a probe says until it ends, and return its answer."""
    answer: dict[str, Any] | None = None
    assert process.stdout
    with process.stdout:
        for line in process.stdout:
            if not line.startswith(MARK):
                continue
            with suppress(ValueError):
                heard = json.loads(line[1:])
                if 'stage' in heard:
                    if report:
                        report(heard['stage'])
                else:
                    answer = heard
    return answer


def _give_up(process: subprocess.Popen[str], late: threading.Event) -> None:
    late.set()
    _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """End a process and whatever it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _signal_name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f'signal {number}'


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ''
