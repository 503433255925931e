"""The demo as a user starts it, with a tiny model whose parameters are synthetic."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from helpers import synthetic
from helpers.viewer import Browser
from PIL import Image

pytestmark = pytest.mark.needs_ros

ROOT = Path(__file__).parents[2]
GENEROUS_S = 120.0


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    """The smallest model there is: a tiny backbone and no head."""
    return synthetic.write_model(tmp_path_factory.mktemp('model') / 'tiny', teachers=[])


class Demo:
    """The demo in a process group of its own, and what it says."""

    def __init__(self, output, *arguments):
        self.output = output
        self._said = output.with_suffix('.said')
        with self._said.open('w') as file:
            self.process = subprocess.Popen(
                [sys.executable, '-m', 'theia_ros.demo', '--output', str(output), *arguments],
                cwd=ROOT,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def said(self):
        return self._said.read_text()

    @property
    def lines(self):
        """What it said, without the progress bar."""
        return [line for line in re.split('[\r\n]', self.said) if line and ' s]' not in line
                and '|' not in line]  # fmt: skip

    def wait(self):
        try:
            return self.process.wait(GENEROUS_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f'it did not end; it said:\n{self.said}') from None

    def until(self, condition, expected):
        end = time.monotonic() + GENEROUS_S
        while not (found := condition()):
            assert self.process.poll() is None, f'it ended; it said:\n{self.said}'
            assert time.monotonic() < end, f'expected {expected}; it said:\n{self.said}'
            time.sleep(0.05)
        return found

    def family(self):
        """Return the command of every process of its group, by number."""
        found = {}
        for folder in Path('/proc').glob('[0-9]*'):
            with contextlib.suppress(OSError):
                command = (folder / 'cmdline').read_bytes().replace(b'\0', b' ').decode()
                if command and os.getpgid(int(folder.name)) == self.process.pid:
                    found[int(folder.name)] = command
        return found

    def child(self, module):
        """Return the number of the process that runs a module, once there is one."""

        def running():
            return [pid for pid, command in self.family().items() if module in command]

        return self.until(running, f'a process of {module}')[0]


@pytest.fixture
def start(tmp_path, domain):
    """Start demos, and leave nothing behind."""
    started = []

    def start(*arguments):
        started.append(Demo(tmp_path / f'output_{len(started)}', *arguments))
        return started[-1]

    yield start
    for demo in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(demo.process.pid, signal.SIGKILL)
        demo.process.wait()


def test_demo_shows_the_camera_beside_its_maps(start, model):
    import av

    demo = start('--seconds', '3', '--model', str(model))

    assert demo.wait() == 0, demo.said
    assert demo.family() == {}
    # The best engine that is installed, as `auto` takes it.
    backend = 'openvino' if find_spec('openvino') else 'torch'
    assert f'encoder: {model}, {backend} fp32 on cpu' in demo.said

    frames = re.search(
        r'frames +(\d+) sent, (\d+) received, (\d+) encoded, (\d+) dropped', demo.said
    )
    sent, received, encoded, dropped = map(int, frames.groups())
    assert sent == 75  # 3 s at 25 Hz
    assert 0 < encoded <= received <= sent
    assert encoded + dropped <= received
    features = re.search(r'features +(\d+) received, ([\d.]+) Hz, (.*)', demo.said)
    assert 0 < int(features[1]) <= encoded
    assert float(features[2]) == pytest.approx(int(features[1]) / 3, abs=0.06)
    assert features[3] == '196 x 192'
    latency = re.search(r'p50 (\d+) ms, p95 (\d+) ms, p99 (\d+) ms', demo.said)
    p50, p95, p99 = map(int, latency.groups())
    assert 0 < p50 <= p95 <= p99

    picture = np.asarray(Image.open(demo.output / 'panel.png'))
    assert picture.shape[2] == 3
    assert picture.std() > 20
    with av.open(str(demo.output / 'panel.mp4')) as video:
        shown = [frame.to_ndarray(format='rgb24') for frame in video.decode(video=0)]
        assert video.streams.video[0].codec_context.name == 'h264'
    assert 5 < len(shown) <= sent
    width = shown[0].shape[1]
    assert shown[0][:, : width // 2].std() > 20  # the camera
    assert shown[0][:, width // 2 :].std() > 20  # its view
    assert not list(demo.output.glob('*.part*'))


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_live_maps_are_shown_until_it_is_ended(start, model, number):
    demo = start('--view', '0', '--model', str(model))
    url = demo.until(lambda: re.search(r'http://127\.0\.0\.1:\d+/', demo.said), 'the page')[0]

    with contextlib.closing(Browser(url)) as browser:
        panes = demo.until(lambda: browser.panes('/theia'), 'the panes')
        assert list(panes) == ['Camera', 'PCA', 'Feature norm']
        browser.show(*panes.values())
        demo.until(lambda: set(browser.pictures) == set(panes.values()), 'a picture of each')
        demo.process.send_signal(number)
        assert demo.wait() == 0, demo.said

    assert 'Traceback' not in demo.said
    assert demo.family() == {}
    assert not (demo.output / 'panel.mp4').exists()


def test_view_that_cannot_start_ends_the_demo(start, model):
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        demo = start('--view', str(taken.getsockname()[1]), '--model', str(model))

        assert demo.wait() == 2
    first, last = demo.lines
    assert 'choose another with --port' in first
    assert last == 'scripts/demo: the view ended'
    assert demo.family() == {}


def test_video_of_the_user_is_played(start, model, tmp_path):
    import cv2

    path = tmp_path / 'my robot.mp4'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 25, (64, 48))
    for i in range(30):
        writer.write(np.full((48, 64, 3), (0, 0, 250 if i % 2 else 200), np.uint8))  # blue first
    writer.release()

    demo = start('--seconds', '2', '--model', str(model), '--video', str(path))

    assert demo.wait() == 0, demo.said
    picture = np.asarray(Image.open(demo.output / 'panel.png')).astype(int)
    height, width = picture.shape[:2]
    camera = picture[height // 4, width // 8]
    assert camera[0] > 150, camera
    assert max(camera[1:]) < 60, camera


MISTAKES = [
    pytest.param(
        ['--video', 'no_such_file.mp4'], 'no_such_file.mp4: no such video file', id='video'
    ),
    pytest.param(['--device', '97'], 'camera device 97 gives no picture', id='device'),
]


@pytest.mark.parametrize(('arguments', 'text'), MISTAKES)
def test_mistake_is_one_line_and_leaves_nothing_behind(start, model, arguments, text):
    demo = start('--seconds', '3', '--model', str(model), *arguments)

    assert demo.wait() == 2
    assert 'Traceback' not in demo.said
    assert demo.lines[-1].startswith('scripts/demo: the camera ended; it said: ')
    assert text in demo.lines[-1]
    assert str(demo.output / 'camera.log') in demo.lines[-1]
    assert demo.family() == {}
    assert not (demo.output / 'panel.mp4').exists()


def test_unknown_model_is_one_line(start):
    demo = start('--model', 'theia-huge')

    assert demo.wait() == 2
    assert 'Traceback' not in demo.said
    (line,) = demo.lines
    assert line.startswith('scripts/demo: the encoder ended; it said: ')
    assert "unknown model 'theia-huge'" in line
    assert demo.family() == {}


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        pytest.param(['--seconds', '0'], '--seconds is 0.0; use more than 0', id='no-time'),
        pytest.param(['--seconds', 'nan'], '--seconds is nan; use more than 0', id='not-a-number'),
        pytest.param(['--seconds', 'inf'], '--seconds is inf; use more than 0', id='for-ever'),
        pytest.param(['--video', 'x', '--device', '0'], 'not allowed with', id='two-sources'),
    ],
)
def test_senseless_arguments_are_refused_at_once(start, arguments, text):
    demo = start(*arguments)

    assert demo.wait() == 2
    assert text in demo.said
    assert 'Traceback' not in demo.said


@pytest.mark.parametrize(
    ('number', 'everybody'),
    [
        pytest.param(signal.SIGINT, True, id='Ctrl-C'),
        pytest.param(signal.SIGINT, False, id='SIGINT-to-the-demo-alone'),
        pytest.param(signal.SIGTERM, False, id='SIGTERM'),
    ],
)
def test_stopped_demo_leaves_no_process_behind(start, model, number, everybody):
    demo = start('--seconds', '60', '--model', str(model))
    demo.child('theia_ros.demo.camera_node')
    demo.until(lambda: ' 1/60 s' in demo.said, 'progress')

    if everybody:  # as a terminal does
        os.killpg(demo.process.pid, number)
    else:
        demo.process.send_signal(number)

    assert demo.wait() == 130
    assert 'scripts/demo: stopped' in demo.lines[-1]
    assert 'Traceback' not in demo.said
    assert demo.family() == {}


def test_killed_encoder_is_told_with_its_log(start, model):
    demo = start('--seconds', '60', '--model', str(model))
    demo.child('theia_ros.demo.camera_node')
    encoder = demo.child('theia_ros.nodes.encoder_node')
    demo.until(lambda: ' 1/60 s' in demo.said, 'progress')

    os.kill(encoder, signal.SIGKILL)

    assert demo.wait() == 2
    assert 'Traceback' not in demo.said
    line = demo.lines[-1]
    assert line.startswith('scripts/demo: the encoder ended')
    assert str(demo.output / 'encoder.log') in line
    assert demo.family() == {}


@pytest.mark.parametrize(
    ('given', 'model', 'video'),
    [
        ({}, 'demo-tiny', 'clip'),
        ({'model': 'demo-tiny'}, 'demo-tiny', 'clip'),
        ({'video': 'mine.mp4'}, 'demo-dinov2-small', 'mine.mp4'),
        ({'device': 0}, 'demo-dinov2-small', None),
        ({'model': 'my_model'}, 'my_model', None),
        ({'model': 'demo-tiny', 'video': 'mine.mp4'}, 'demo-tiny', 'mine.mp4'),
    ],
    ids=str,
)
def test_what_was_learned_from_the_table_is_shown_on_the_table(
    given, model, video, monkeypatch, capsys
):
    from theia_ros.demo import __main__ as demo
    from theia_ros.demo.sources import CLIP

    made = []
    monkeypatch.setattr(demo.demo_model, 'prepare', lambda folder, report: made.append(folder))
    args = argparse.Namespace(**{'model': None, 'video': None, 'device': None, **given})
    demo.choose_model(args)
    assert args.model == model
    assert args.video == (str(CLIP) if video == 'clip' else video)
    assert [folder.name for folder in made] == [model] * (model == 'demo-dinov2-small')
    assert ('its maps hold nowhere else' in capsys.readouterr().out) == (len(given) == 2)
