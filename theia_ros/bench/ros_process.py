"""Processes of the benchmark of the node, and the ROS that they share."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import rclpy
from rclpy.signals import SignalHandlerOptions

from theia_ros import transport
from theia_ros.errors import EngineError
from theia_ros.nodes.process import interrupts_kept

_END_S = 10.0


@dataclass(frozen=True)
class Process:
    """A process, and where its output goes.

    Attributes:
        name: For people.
        popen: As subprocess made it.
        log: All that it says.
    """

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Do nothing while it runs.

        Raises:
            EngineError: It has ended; what it said last.
        """
        if self.popen.poll() is not None:
            lines = self.log.read_text().strip().splitlines()
            said = [line for line in lines if 'ERROR' in line] or lines[-1:] or ['nothing']
            raise EngineError(f'the process {self.name} ended; it said: {said[0]}')


@contextlib.contextmanager
def process(name: str, command: Sequence[str], folder: Path) -> Iterator[Process]:
    """Run a command until the end of the context, with a log in `folder`."""
    log = folder / f'{name}.log'
    with log.open('wb') as file:
        popen = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield Process(name, popen, log)
    finally:
        popen.terminate()
        try:
            popen.wait(_END_S)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait()


@contextlib.contextmanager
def ros() -> Iterator[str]:
    """Have ROS initialised, on a transport that does not lose large images.

    Returns:
        The transport, for people.
    """
    if not transport.is_chosen(os.environ):
        os.environ['FASTDDS_BUILTIN_TRANSPORTS'] = 'LARGE_DATA'
    # Ctrl-C is a KeyboardInterrupt here, as in every other command.
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        chosen = {name: os.environ[name] for name in transport.VARIABLES if os.environ.get(name)}
        with interrupts_kept():
            yield ', '.join(f'{name}={Path(value).name}' for name, value in chosen.items())
    finally:
        rclpy.try_shutdown()
