"""Run two encoder nodes for long, with cameras and subscribers, and judge what becomes of them.

One node has the fake engine and many fast cameras, the other a real engine. Every process, cameras
and subscribers included, is one of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import get_rmw_implementation_identifier
from theia_msgs.msg import Latency

from theia_ros.errors import TheiaRosError
from theia_ros.nodes.process import interrupts_kept
from theia_ros.nodes.process import resident_mb
from theia_ros.soak import figures

_EXAMPLES = """\
example: scripts/soak --minutes 30 --json soak.json
         scripts/soak --minutes 1 --real-cameras 0

Memory is the resident set of each process. A line of least squares is fitted to the samples after
the warm-up, and its slope is told in percent of its height at the end of the warm-up, per hour.
The run fails (exit code 1) if a node grows by more than 1 % per hour, if received pictures are not
all encoded, dropped, limited, stale, unwanted, bad or failed, if nothing is received, or if more
than 1 % of what a camera sent neither arrives nor is reported lost. Memory is
judged only where ten minutes are left after the warm-up."""

_START_S = 300.0
_NODES = ('fake', 'real')


class Monitor(Node):  # type: ignore[misc]
    """Keep the newest diagnostics and latencies of the nodes."""

    def __init__(self, nodes: Sequence[str]) -> None:
        super().__init__('soak_monitor')
        self.statuses: dict[str, DiagnosticStatus] = {}
        self.latencies: dict[str, Latency] = {}
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        for node in nodes:
            self.create_subscription(
                Latency, f'/{node}/latency', lambda m, n=node: self.latencies.update({n: m}), 1
            )

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        self.statuses.update({status.name: status for status in msg.status})

    def counters(self, camera: str) -> dict[str, int] | None:
        """Return the newest counters of a camera, called `<node>_<number>`."""
        status = self.statuses.get(f'{camera.rpartition("_")[0]}: camera {camera}')
        values = {v.key: v.value for v in status.values} if status else {}
        return {key: int(value) for key, value in values.items() if value.isdigit()} or None


class Process:
    """A process of the soak, with its output in files."""

    def __init__(self, name: str, command: Sequence[str], folder: Path) -> None:
        self.name = name
        self._out, self.log = folder / f'{name}.out', folder / f'{name}.log'
        with self._out.open('w') as out, self.log.open('w') as err:
            self._process = subprocess.Popen(
                [sys.executable, '-m', *command], stdout=out, stderr=err
            )

    def check(self) -> None:
        """Raise what it said last if it has ended."""
        if self._process.poll() is not None:
            said = (self.log.read_text().strip().splitlines() or ['nothing'])[-1]
            raise TheiaRosError(f'{self.name} ended early; it said: {said}')

    def rss_mb(self) -> float:
        """Return its resident memory, megabytes."""
        held_mb: float = resident_mb(self._process.pid)
        return round(held_mb, 2)

    def held(self) -> dict[str, float]:
        """Return how many threads and file descriptors it has, and kinds of its memory."""
        proc = Path(f'/proc/{self._process.pid}')
        fields = dict(line.split(':', 1) for line in (proc / 'status').read_text().splitlines())
        kinds = {'anonymous_mb': 'RssAnon', 'file_mb': 'RssFile', 'shared_mb': 'RssShmem'}
        return {
            'threads': int(fields['Threads']),
            'files': len(list((proc / 'fd').iterdir())),
            **{k: round(int(fields[f].split()[0]) * 1024 / 1e6, 1) for k, f in kinds.items()},
        }

    def stop(self) -> int:
        """Ask it to end, and return its exit status."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def counted(self) -> dict[str, int]:
        """Return what it has counted, once it has ended."""
        lines = self._out.read_text().strip().splitlines()
        counts: dict[str, int] = json.loads(lines[-1]) if lines else {}
        return counts


class Soak:
    """Everything that runs."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self._args = args
        self._folder = folder
        self._cameras = {
            node: [f'{node}_{i}' for i in range(getattr(args, f'{node}_cameras'))]
            for node in _NODES
            if getattr(args, f'{node}_cameras')
        }
        self.nodes: list[Process] = []
        self.cameras: list[Process] = []
        self.subscribers: list[Process] = []
        self.monitor = Monitor(list(self._cameras))
        self.times_s: list[float] = []
        self.rss_mb: dict[str, list[float]] = {}
        self.in_flight: dict[str, list[int]] = {
            camera: [] for cameras in self._cameras.values() for camera in cameras
        }
        self.latency: list[dict[str, Any]] = []
        self.held: list[dict[str, Any]] = []

    def processes(self) -> Iterator[Process]:
        """Give all processes."""
        yield from (*self.nodes, *self.cameras, *self.subscribers)

    def start(self) -> None:
        """Start the nodes, then the subscribers, then the cameras."""
        for node, cameras in self._cameras.items():
            self._start_node(node, cameras)
        self._spin_until(lambda: len(self.monitor.statuses) >= len(self._cameras), 'the nodes')
        for node, cameras in self._cameras.items():
            for kind, name in (('features', 'features'), ('maps', 'dinov2/image')):
                topics = [f'/{node}/{camera}/{name}' for camera in cameras]
                self._start_peer(self.subscribers, 'subscriber', f'{kind}_{node}', kind, *topics)
            hz = getattr(self._args, f'{node}_hz')
            for camera in cameras:
                self._start_peer(
                    self.cameras, 'camera', f'camera_{camera}', _topic(camera), str(hz)
                )
        self._spin_until(
            lambda: all((self.monitor.counters(c) or {}).get('encoded') for c in self.in_flight),
            'features of every camera',
        )
        self.rss_mb = {process.name: [] for process in self.processes()}

    def _start_node(self, node: str, cameras: Sequence[str]) -> None:
        fake = node == 'fake'
        parameters = {
            'autostart': 'true',
            'model': 'theia-tiny-patch16-224-cddsv' if fake else self._args.model,
            'backend': 'fake' if fake else self._args.backend,
            'cameras': f'[{", ".join(cameras)}]',
            'image_topics': f'[{", ".join(_topic(camera) for camera in cameras)}]',
        }
        given = [part for k, v in parameters.items() for part in ('-p', f'{k}:={v}')]
        self._start(
            self.nodes,
            f'node_{node}',
            ('theia_ros.nodes.encoder_node', '--ros-args', '-r', f'__node:={node}', *given),
        )

    def _start(self, among: list[Process], name: str, command: Sequence[str]) -> None:
        among.append(Process(name, command, self._folder))

    def _start_peer(self, among: list[Process], role: str, name: str, *rest: str) -> None:
        self._start(among, name, ('theia_ros.soak.peers', role, name, *rest))

    def _spin_until(self, done: Callable[[], object], expected: str) -> None:
        end = time.monotonic() + _START_S
        while not done():
            for process in self.processes():
                process.check()
            if time.monotonic() > end:
                raise TheiaRosError(f'expected {expected} within {_START_S:.0f} s')
            rclpy.spin_once(self.monitor, timeout_sec=0.2)

    def spin(self, seconds: float) -> None:
        """Listen for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            rclpy.spin_once(self.monitor, timeout_sec=left)

    def run(self) -> None:
        """Sample until the time is over, with a line of progress."""
        seconds, began = 60 * self._args.minutes, time.monotonic()
        minute = -1
        while (passed := time.monotonic() - began) < seconds:
            self.spin(min(self._args.every, seconds - passed))
            t_s = time.monotonic() - began
            for process in self.processes():
                process.check()
                self.rss_mb[process.name].append(process.rss_mb())
            self.times_s.append(round(t_s, 1))
            for camera, found in self.in_flight.items():
                if counters := self.monitor.counters(camera):
                    found.append(figures.in_flight(counters))
            if int(t_s / 60) > minute:
                minute = int(t_s / 60)
                self._note(t_s)
            self._progress(t_s, seconds)
        self._note(time.monotonic() - began)
        sys.stderr.write('\n')

    def _note(self, t_s: float) -> None:
        for node in self.nodes:
            self.held.append({'minute': round(t_s / 60, 1), 'node': node.name, **node.held()})
        for msg in self.monitor.latencies.values():
            for step in msg.steps:
                if step.camera:
                    spread = {
                        k: round(getattr(step, k), 1) for k in ('p50_ms', 'p95_ms', 'p99_ms')
                    }
                    row = {'minute': round(t_s / 60, 1), 'camera': step.camera, 'step': step.step}
                    self.latency.append({**row, **spread})

    def _progress(self, t_s: float, seconds: float) -> None:
        nodes = ', '.join(f'{n.name} {self.rss_mb[n.name][-1]:.1f} MB' for n in self.nodes)
        encoded = sum((self.monitor.counters(c) or {}).get('encoded', 0) for c in self.in_flight)
        left = max(0, round(seconds - t_s))
        text = f'{t_s / 60:5.1f} min, {left // 60}:{left % 60:02} left, {nodes}, {encoded} encoded'
        sys.stderr.write(f'\r{text} ' if sys.stderr.isatty() else f'{text}\n')
        sys.stderr.flush()

    def finish(self) -> dict[str, Any]:
        """Stop everything, cameras first, and return the result."""
        sent = self._stop_cameras()
        self.spin(5.0)  # what is in flight ends, and diagnostics tell so
        counters = self._last_counters(sent)
        problems = [p for c, found in counters.items() for p in self._camera_problems(c, found)]
        for node in self.nodes:
            problems += _stop_node(node)
        received = self._stop_subscribers()
        problems += [
            f'{topic}: nothing received'
            for topics in received.values()
            for topic, n in topics.items()
            if not n
        ]
        memory = {
            name: figures.growth(self.times_s, samples, 60 * self._args.warm_up_minutes)
            for name, samples in self.rss_mb.items()
        }
        for node in self.nodes:
            problems += figures.growth_problems(node.name, memory[node.name])
        return {
            'verdict': 'failed' if problems else 'passed',
            'problems': problems,
            'minutes': round(self.times_s[-1] / 60, 2),
            'warm_up_minutes': self._args.warm_up_minutes,
            'load': self._load(),
            'machine': _machine(),
            'memory': {name: figures.as_plain(found) for name, found in memory.items()},
            'cameras': counters,
            'features': received['features'],
            'maps': received['maps'],
            'latency': self.latency,
            'held': self.held,
            'times_s': self.times_s,
            'rss_mb': self.rss_mb,
        }

    def _stop_cameras(self) -> dict[str, int]:
        """Return how many pictures each sent."""
        sent = {}
        for process in self.cameras:
            process.stop()
            sent[process.name.removeprefix('camera_')] = process.counted()['sent']
        return sent

    def _stop_subscribers(self) -> dict[str, dict[str, int]]:
        """Return how many messages came, by kind and topic."""
        received: dict[str, dict[str, int]] = {'features': {}, 'maps': {}}
        for process in self.subscribers:
            process.stop()
            received[process.name.partition('_')[0]].update(process.counted())
        return received

    def _last_counters(self, sent: Mapping[str, int]) -> dict[str, dict[str, int]]:
        """Return what became of the pictures of each camera."""
        counters = {camera: dict(self.monitor.counters(camera) or {}) for camera in self.in_flight}
        for camera, of_camera in counters.items():
            of_camera['in_flight'] = figures.in_flight(of_camera)
            of_camera['sent'] = sent[camera]
        return counters

    def _camera_problems(self, camera: str, found: Mapping[str, int]) -> Iterator[str]:
        if self._args.minutes >= 1:  # else the meeting itself is too large a part
            yield from figures.arrival_problems(camera, found['sent'], found)
        yield from figures.balance_problems(camera, self.in_flight[camera], found['in_flight'])

    def _load(self) -> dict[str, str]:
        args = self._args
        return {
            'fake': f'{args.fake_cameras} cameras 640x480 at {args.fake_hz:g} Hz',
            'real': f'{args.real_cameras} cameras 640x480 at {args.real_hz:g} Hz, '
            f'{Path(args.model).name}, {args.backend}',
        }


def _stop_node(node: Process) -> list[str]:
    """Return what is wrong with its end."""
    problems = []
    if status := node.stop():
        problems.append(f'{node.name}: exit status {status}; expected 0')
    if 'Traceback' in node.log.read_text():
        problems.append(f'{node.name}: a traceback in its log')
    return problems


def _machine() -> dict[str, Any]:
    return {
        'cores': len(os.sched_getaffinity(0)),
        'architecture': platform.machine(),
        'python': platform.python_version(),
        'rmw': get_rmw_implementation_identifier(),
    }


def _topic(camera: str) -> str:
    return f'/soak/{camera}/image_raw'


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog='scripts/soak',
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('--minutes', type=float, required=True, help='how long it runs, warm-up included')
    add('--json', type=Path, metavar='FILE', help='write the result and all samples there')
    add('--fake-cameras', type=int, default=4, help='of the node with the fake engine (4)')
    add('--fake-hz', type=float, default=30.0, help='their rate (30)')
    add('--real-cameras', type=int, default=2, help='of the node with a real engine (2)')
    add('--real-hz', type=float, default=30.0, help='their rate (30)')
    add('--model', default='demo-dinov2-small', help='of the real engine (demo-dinov2-small)')
    add('--backend', default='auto', help='of the real engine (auto)')
    add('--every', type=float, default=5.0, metavar='S', help='seconds between samples (5)')
    add(
        '--warm-up-minutes',
        type=float,
        metavar='M',
        help='left out of the fit (a fifth of the run, at most 10)',
    )
    args = parser.parse_args(argv)
    if args.minutes <= 0:
        parser.error(f'--minutes is {args.minutes:g}; use more than 0')
    if min(args.fake_cameras, args.real_cameras) < 0 or not args.fake_cameras + args.real_cameras:
        parser.error('--fake-cameras and --real-cameras: use 0 or more, and one at least')
    if min(args.fake_hz, args.real_hz, args.every) <= 0:
        parser.error('--fake-hz, --real-hz and --every must be above 0')
    if args.warm_up_minutes is None:
        args.warm_up_minutes = min(10.0, args.minutes / 5)
    if (args.minutes - args.warm_up_minutes) * 60 < 4 * args.every:
        parser.error('too short for four samples after the warm-up; see --every')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run the soak and return 0 if it passed."""
    args = arguments(argv)
    with _own_domain():
        return _run(args)


@contextlib.contextmanager
def _own_domain() -> Iterator[None]:
    """Take a ROS domain that nobody else has, by the same lock as the tests."""
    for number in range(1, 102):
        with socket.socket() as lock:
            try:
                lock.bind(('127.0.0.1', 7400 + 250 * number))
            except OSError:
                continue
            os.environ['ROS_DOMAIN_ID'] = str(number)
            yield
            return
    raise SystemExit('scripts/soak: every ROS domain is in use')


def _run(args: argparse.Namespace) -> int:
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    with contextlib.ExitStack() as stack:
        stack.callback(rclpy.try_shutdown)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix='theia_ros_soak_')))
        soak = Soak(args, folder)

        def stop_all() -> None:
            for process in soak.processes():
                process.stop()

        stack.callback(stop_all)
        try:
            with interrupts_kept():
                soak.start()
                soak.run()
                result = soak.finish()
        except TheiaRosError as exc:
            sys.stderr.write(f'\nscripts/soak: {exc}\n')
            return 1
        except KeyboardInterrupt:
            sys.stderr.write('\nscripts/soak: stopped\n')
            return 130
    sys.stdout.write(figures.report(result) + '\n')
    if args.json:
        args.json.write_text(figures.as_json(result))
        sys.stdout.write(f'wrote {args.json}\n')
    return int(bool(result['problems']))


if __name__ == '__main__':
    sys.exit(main())
