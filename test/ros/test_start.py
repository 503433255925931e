"""Signals that come before a node has begun."""

import os
import signal
import subprocess
import sys
import time

import pytest
from helpers.process import GENEROUS_S
from helpers.process import ROOT

pytestmark = pytest.mark.needs_ros

# What all nodes import first of all.
SLOW_RCLPY = """\
import pathlib, time
pathlib.Path(__file__).with_name('reached').touch()
time.sleep(60)
"""


@pytest.mark.parametrize('door', ['encoder_node', 'depth_cloud', 'demo_camera'])
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signal_while_libraries_are_loaded_is_a_quiet_end(tmp_path, door, number):
    (tmp_path / 'rclpy').mkdir()
    (tmp_path / 'rclpy' / '__init__.py').write_text(SLOW_RCLPY)
    code = f'import sys; from theia_ros.start import {door}; sys.exit({door}())'
    path = os.pathsep.join([str(tmp_path), str(ROOT), os.environ.get('PYTHONPATH', '')])
    process = subprocess.Popen(
        [sys.executable, '-c', code],
        env={**os.environ, 'PYTHONPATH': path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    end = time.monotonic() + GENEROUS_S
    while not (tmp_path / 'rclpy' / 'reached').exists():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(number)
    said, _ = process.communicate(timeout=GENEROUS_S)
    assert (process.returncode, said) == (0, '')
