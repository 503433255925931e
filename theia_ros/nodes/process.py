"""What every process of ours needs, whoever starts it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path

import rclpy
from rclpy.clock import Clock
from rclpy.clock import ClockType
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.exceptions import InvalidParameterValueException
from rclpy.executors import ExternalShutdownException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from theia_ros.errors import one_line
from theia_ros.errors import TheiaRosError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEEP_BYTES, _ARENAS = 1 << 29, 2
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SIGNALS_S = 0.2
_LONGEST_END_S = 1.6


def keep_large_buffers() -> None:
    """Let the allocator keep the memory of large messages.

    By default glibc gives the buffer of every image back to the kernel, and fetching it again
    costs several times as much as all the rest of receiving one. And it gives each thread an arena
    of its own, each of which may then keep what it needed at most. Harmless elsewhere.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt:
        mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)
        mallopt(_M_ARENA_MAX, _ARENAS)


def give_back_memory() -> None:
    """Give the kernel what is free inside the allocator, such as after an engine was loaded.

    `keep_large_buffers` lets it keep more than it will ever need again.
    """
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if trim:
        trim(0)


def resident_mb(pid: int | str = 'self') -> float:
    """Return the memory that a process holds, megabytes; by default this one."""
    pages = int(Path(f'/proc/{pid}/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 1e6


@contextlib.contextmanager
def interrupts_kept() -> Iterator[None]:
    """Let a signal end as KeyboardInterrupt, also if a library makes another error of that.

    rclpy does: where its pybind11 calls python, as for the constructor of a message that it takes,
    whatever is raised there becomes a RuntimeError. For the main thread only.
    """
    came = False

    def noticing(handler: Callable[..., object]) -> Callable[..., None]:
        def notice(*args: object) -> None:
            nonlocal came
            came = True
            handler(*args)

        return notice

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    ours = {number: noticing(handler) for number, handler in before.items() if callable(handler)}
    for number, handler in ours.items():
        signal.signal(number, handler)
    try:
        yield
    except Exception as exc:
        if came:
            raise KeyboardInterrupt from exc
        raise
    finally:
        for number, handler in ours.items():
            if signal.getsignal(number) is handler:
                signal.signal(number, before[number])


def _on_signals(handler: Callable[..., None]) -> None:
    for number in _SIGNALS:
        signal.signal(number, handler)


def _stop(*_: object) -> None:
    """End what runs, also a node that is just loading its model."""
    _on_signals(_ignore)
    raise KeyboardInterrupt


def _ignore(*_: object) -> None:
    """Let no second Ctrl-C, which `ros2 launch` sends, break into the shutdown."""
    # Not SIG_IGN: python complains when that replaces the handler of a signal on its way.


def _end_in_time() -> None:
    """End the process soon after the first signal, also if a library does not come back by then.

    Python serves a signal between two of its own steps, but building an engine, or a device that
    hangs, may be one step of minutes. The system call that gets the signal wakes a thread.
    """
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)

    def wait() -> None:
        os.read(told, 1)
        time.sleep(_LONGEST_END_S)
        sys.stderr.write(f'{Path(sys.argv[0]).name}: ended in the middle of its work\n')
        sys.stderr.flush()
        os._exit(0)

    threading.Thread(target=wait, name='end-in-time', daemon=True).start()


def run_node(make: Callable[[], Node], args: Sequence[str] | None = None) -> int:
    """Spin a node until it is asked to stop, and return the exit status.

    Args:
        make: Makes the node. It may raise a `TheiaRosError`, which gives status 2 and one line.
        args: Command line; None for that of this process.
    """
    keep_large_buffers()
    node = None
    try:
        _on_signals(_stop)
        _end_in_time()
        with interrupts_kept():
            # rclpy's own handlers would shut ROS down under a node that is publishing.
            rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
            node = make()
            # Python serves signals between callbacks: let there be some.
            node.create_timer(
                _SIGNALS_S, lambda: None, clock=Clock(clock_type=ClockType.STEADY_TIME)
            )
            executor = SingleThreadedExecutor()
            executor.add_node(node)
            executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except rclpy._rclpy_pybind11.UnknownROSArgsError as exc:
        sys.stderr.write(f'{Path(sys.argv[0]).name}: unknown ROS arguments: {exc}\n')
        return 2
    except (
        TheiaRosError,
        InvalidParameterTypeException,
        InvalidParameterValueException,
        rclpy._rclpy_pybind11.RCLError,  # a parameter file that cannot be read, for one
    ) as exc:
        sys.stderr.write(f'{Path(sys.argv[0]).name}: {one_line(exc)}\n')
        return 2
    finally:
        _on_signals(_ignore)
        if node:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0
