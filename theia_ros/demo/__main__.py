"""The demo: a camera, the encoder and a subscriber, each a process of its own, on a ROS graph."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import rclpy
from PIL import Image
from rclpy.signals import SignalHandlerOptions
from tqdm import tqdm

from theia_ros.catalog import model_folder
from theia_ros.demo import model as demo_model
from theia_ros.demo.panel import beside
from theia_ros.demo.panel import row
from theia_ros.demo.panel import stack
from theia_ros.demo.panel import Video
from theia_ros.demo.sources import CLIP
from theia_ros.demo.sources import Rgb
from theia_ros.demo.watcher import CAMERA
from theia_ros.demo.watcher import Watcher
from theia_ros.errors import TheiaRosError
from theia_ros.nodes.process import interrupts_kept
from theia_ros.nodes.process import keep_large_buffers

EXAMPLES = """examples:
  scripts/demo
  scripts/demo --view
  scripts/demo --seconds 60 --video my_robot.mp4
  scripts/demo --device 0 --model ~/my_theia"""
TABLE_MODEL = 'demo-tiny'
"""The model that knows the table of the clip: its depth and classes hold nowhere else."""
_START_S = 120.0
_MOMENTS = 6
"""Moments in panel.png."""
_EVERY_NS = 500_000_000


def main() -> int:
    """Run the demo and return the exit status."""
    args = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with interrupts_kept():
            if args.view is None:
                run(args)
            else:
                show(args)
    except TheiaRosError as exc:
        print(f'scripts/demo: {exc}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('scripts/demo: stopped', file=sys.stderr)
        return 130
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='scripts/demo',
        description='Play pictures to the encoder on a real ROS graph, print what came of it, and '
        'write panel.png and panel.mp4: the camera beside every decoded map.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--seconds', type=float, help='to play (default: 20; with --view: until Ctrl-C)'
    )
    parser.add_argument(
        '--view',
        nargs='?',
        type=int,
        const=8224,
        metavar='PORT',
        help='show live maps in the browser instead of writing files (default port: %(const)s)',
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument('--video', metavar='FILE', help='play this instead')
    source.add_argument('--device', type=int, metavar='N', help='use camera N of this computer')
    parser.add_argument(
        '--model',
        help=f'name of a model, or its folder (default: {TABLE_MODEL} for the clip that comes '
        f'with the demo, {demo_model.NAME} for others)',
    )
    parser.add_argument('--output', type=Path, default=Path('demo_output'), metavar='FOLDER')
    args = parser.parse_args()
    if args.seconds is None:
        args.seconds = 0.0 if args.view is not None else 20.0  # the camera's word for no end
    elif not 0 < args.seconds < math.inf:
        parser.error(f'--seconds is {args.seconds}; use more than 0')
    return args


def run(args: argparse.Namespace) -> None:
    """Run the whole demo.

    Raises:
        TheiaRosError: A process ended, or nothing came of it.
    """
    args.output.mkdir(parents=True, exist_ok=True)
    choose_model(args)
    keep_large_buffers()
    # rclpy's own handlers would shut ROS down between two of its steps, which are errors then.
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    moments: list[tuple[int, Rgb]] = []
    with contextlib.ExitStack() as stack_:
        stack_.callback(rclpy.try_shutdown)
        video = stack_.enter_context(Video(args.output / 'panel.mp4'))

        def keep(pictures: Mapping[str, Rgb], stamp_ns: int) -> None:
            panel = row(pictures)
            video.add(panel, stamp_ns)
            if not moments or stamp_ns - moments[-1][0] >= _EVERY_NS:
                moments.append((stamp_ns, panel))

        watcher = Watcher(keep)
        encoder = stack_.enter_context(_process('encoder', _encoder_command(args), args.output))
        _spin(watcher, [encoder], lambda: watcher.info is not None, _START_S, 'an active encoder')
        watcher.subscribe()
        info = watcher.info
        print(f'encoder: {info.model}, {info.backend} {info.precision} on {info.device}')
        # It begins when encoder and watcher listen, else its few seconds may pass unheard.
        command = [*_camera_command(args), '-p', 'listeners:=2']
        camera = stack_.enter_context(_process('camera', command, args.output))
        _play(watcher, [encoder, camera], args.seconds)
    if not moments:
        raise TheiaRosError(f'no features came; see {args.output}/encoder.log and camera.log')
    _write_picture(args.output / 'panel.png', [panel for _, panel in moments])
    print(report(watcher, args.seconds))
    print(f'wrote {args.output / "panel.png"} and {args.output / "panel.mp4"}')


def show(args: argparse.Namespace) -> None:
    """Run the camera and the encoder, and show them in the browser until somebody ends it.

    Raises:
        TheiaRosError: A process ended.
    """
    args.output.mkdir(parents=True, exist_ok=True)
    choose_model(args)
    with contextlib.ExitStack() as stack_, contextlib.suppress(KeyboardInterrupt):
        view = stack_.enter_context(_process('view', _view_command(args), None))
        others = [
            stack_.enter_context(_process('encoder', _encoder_command(args), args.output)),
            stack_.enter_context(_process('camera', _camera_command(args), args.output)),
        ]
        end = time.monotonic() + args.seconds if args.seconds else math.inf
        while time.monotonic() < end and view.process.poll() is None:
            for process in others:
                process.check()
            time.sleep(0.1)
        if view.process.poll():  # it has told why, in its own line
            raise TheiaRosError('the view ended')


def choose_model(args: argparse.Namespace) -> None:
    """Settle the model and what is played to it, and make the backbone if that is the model.

    What was learned from the rendered table is shown on the rendered table: depth and classes
    of a simulator mean nothing on photographs, and few photographs taught the features.
    """
    own_pictures = args.video is not None or args.device is not None
    if args.model is None:
        args.model = demo_model.NAME if own_pictures else TABLE_MODEL
    if args.model == TABLE_MODEL:
        if own_pictures:
            print(f'{TABLE_MODEL} knows the rendered table; its maps hold nowhere else')
        else:
            args.video = str(CLIP)
    elif args.model == demo_model.NAME:
        demo_model.prepare(model_folder(demo_model.NAME), report=print)


def report(watcher: Watcher, seconds: float) -> str:
    """Return the table of figures."""
    counted = watcher.counters.get(f'theia: camera {CAMERA}', {})
    sent = watcher.counters.get('camera: pictures', {}).get('sent', '?')
    received, encoded, dropped = (counted.get(k, '?') for k in ('received', 'encoded', 'dropped'))
    latency = np.array(watcher.latency_ms)
    p50, p95, p99 = np.percentile(latency, [50, 95, 99])
    shape = ' x '.join(map(str, watcher.shape))
    lines = [
        ('frames', f'{sent} sent, {received} received, {encoded} encoded, {dropped} dropped'),
        ('features', f'{len(latency)} received, {len(latency) / seconds:.1f} Hz, {shape}'),
        ('latency, image stamp', f'p50 {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms'),
        ('  to features received', 'a frame is dropped when a newer one is there first'),
    ]
    return '\n'.join(f'{name:26}{text}' for name, text in lines)


def _encoder_command(args: argparse.Namespace) -> list[str]:
    return [
        *('-m', 'theia_ros.nodes.encoder_node', '--ros-args'),
        *('-p', 'autostart:=true', '-p', f'model:={args.model}', '-p', f'cameras:=[{CAMERA}]'),
    ]


def _camera_command(args: argparse.Namespace) -> list[str]:
    command = [
        *('-m', 'theia_ros.demo.camera_node', '--ros-args'),
        *('-p', f'seconds:={args.seconds:f}'),
    ]
    if args.video:
        command += ['-p', f'video:={Path(args.video).resolve()}']
    if args.device is not None:
        command += ['-p', f'device:={args.device}']
    return command


def _view_command(args: argparse.Namespace) -> list[str]:
    command = ['-m', 'theia_ros.cli', 'view', '--port', str(args.view)]
    # Without a desktop, a browser might be one for the terminal.
    desktop = os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')
    return [*command, '--open'] if desktop else command


class _Process:
    """A process of its own, with its output in a log; without a folder, with ours."""

    def __init__(self, name: str, command: list[str], folder: Path | None) -> None:
        self.name = name
        self.log = folder / f'{name}.log' if folder else None
        with contextlib.ExitStack() as stack_:
            out = stack_.enter_context(self.log.open('w')) if self.log else None
            self.process = subprocess.Popen(
                [sys.executable, *command],
                stdout=out,
                stderr=subprocess.STDOUT if out else None,
            )

    def check(self) -> None:
        """Raise the last line of its log if it has ended."""
        if self.process.poll() is not None:
            lines = self.log.read_text().strip().splitlines()
            said = [line for line in lines if 'ERROR' in line] or lines[-1:] or ['nothing']
            raise TheiaRosError(f'the {self.name} ended; it said: {said[0]} ({self.log})')


@contextlib.contextmanager
def _process(name: str, command: list[str], folder: Path | None) -> Iterator[_Process]:
    started = _Process(name, command, folder)
    try:
        yield started
    finally:
        started.process.terminate()
        try:
            started.process.wait(10)
        except subprocess.TimeoutExpired:
            started.process.kill()
            started.process.wait()


def _spin(
    watcher: Watcher,
    processes: list[_Process],
    done: Callable[[], bool],
    timeout_s: float,
    expected: str,
) -> None:
    end = time.monotonic() + timeout_s
    while not done():
        for process in processes:
            process.check()
        if time.monotonic() > end:
            logs = ', '.join(str(process.log) for process in processes)
            raise TheiaRosError(f'no {expected} within {timeout_s:.0f} s; see {logs}')
        rclpy.spin_once(watcher, timeout_sec=0.1)


def _play(watcher: Watcher, processes: list[_Process], seconds: float) -> None:
    """Spin until the camera has finished, and the encoder has told its last figures."""
    with tqdm(total=round(seconds), unit='s', bar_format='{l_bar}{bar}| {n}/{total} s') as bar:
        started = time.monotonic()

        def finished() -> bool:
            passed = min(int(time.monotonic() - started), bar.total)
            if passed > bar.n:
                bar.update(passed - bar.n)
            return watcher.states.get('camera: pictures') == 'finished'

        _spin(watcher, processes, finished, seconds + _START_S, 'end of the pictures')
        bar.update(bar.total - bar.n)
    told = time.monotonic() + 2.5  # diagnostics come once a second
    _spin(watcher, processes, lambda: time.monotonic() > told, 60.0, 'figures')


def _write_picture(path: Path, panels: list[Rgb]) -> None:
    """Write some moments, evenly spread, as one picture."""
    picks = sorted({round(i) for i in np.linspace(0, len(panels) - 1, _MOMENTS)})
    chosen = [panels[i] for i in picks]
    if chosen[0].shape[1] < 1200:  # one map: two moments fit beside each other
        pairs = zip(chosen[::2], chosen[1::2], strict=False)
        chosen = [beside(pair) for pair in pairs] or chosen[:1]
    temporary = path.with_suffix('.part.png')
    Image.fromarray(stack(chosen)).save(temporary)
    temporary.replace(path)


if __name__ == '__main__':
    sys.exit(main())
