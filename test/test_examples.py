"""Every example runs, as a user would run it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import synthetic
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / 'examples'


def test_every_example_has_a_test() -> None:
    source = Path(__file__).read_text()
    for path in EXAMPLES.glob('*.py'):
        assert f"'{path.name}'" in source, path.name


def test_encode(tmp_path: Path) -> None:
    model = synthetic.write_model(tmp_path / 'model', teachers=())
    Image.fromarray(synthetic.golden_rule.image('scene_96x128')).save(tmp_path / 'a.png')
    done = subprocess.run(
        [sys.executable, EXAMPLES / 'encode.py', tmp_path / 'a.png', model],
        capture_output=True,
        text=True,
    )
    assert done.stdout == '(196, 192) (14, 14)\n(192, 14, 14)\n', done.stderr


@pytest.fixture
def running(tmp_path: Path) -> Iterator[None]:
    """A camera and an encoder, each in a process of its own."""
    model = synthetic.write_model(tmp_path / 'model', teachers=())
    encoder = ['theia_ros.nodes.encoder_node', '--ros-args', '-p', f'model:={model}']
    commands = [
        [*encoder, '-p', 'autostart:=true', '-p', 'backend:=fake'],
        ['theia_ros.demo.camera_node', '--ros-args', '-p', 'rate_hz:=10.0'],
    ]
    processes = [subprocess.Popen([sys.executable, '-m', *command]) for command in commands]
    yield
    for process in processes:
        process.terminate()
    for process in processes:
        assert process.wait(20) == 0


@pytest.mark.needs_ros
def test_subscribe(running: None, tmp_path: Path) -> None:
    log = tmp_path / 'log.txt'
    with log.open('w') as file:
        process = subprocess.Popen(
            [sys.executable, EXAMPLES / 'subscribe.py'],
            stdout=file,
            stderr=file,
            env=os.environ | {'PYTHONUNBUFFERED': '1'},
        )
    try:
        end = time.monotonic() + 60
        while log.read_text().count('theia (196, 192), norm ') < 3:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
    finally:
        process.kill()
        process.wait()
    assert ' ms after capture' in log.read_text()
