"""Ends of `theia-ros fetch` that only a process of its own can come to."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.hub_server import weights

import theia_ros
from theia_ros.catalog import cache_folder
from theia_ros.cli import main

NAME = 'theia-tiny-patch16-224-cdiv'
REPO = f'theaiinstitute/{NAME}'
ARGUMENTS = ['fetch', NAME, '--accept-licence', '--no-decoders']


def folder():
    return cache_folder() / 'models' / NAME


@pytest.fixture
def slow(hub):
    """A file of 8 MB, of which 64 kB come every 10 ms."""
    content = weights(tensors=8, rows=256)
    hub.add(REPO, 'config.json', b'{}', large=False)
    hub.add(REPO, 'model.safetensors', content)
    hub.pause_s = 0.01
    return content


def start(**options):
    root = Path(theia_ros.__file__).parents[1]
    return subprocess.Popen(
        [sys.executable, '-m', 'theia_ros.cli', *ARGUMENTS],
        env={**os.environ, 'PYTHONPATH': str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def wait_for(hub, size):
    deadline_s = time.monotonic() + 30
    while hub.sent < size:
        assert time.monotonic() < deadline_s, f'{hub.sent} bytes only'
        time.sleep(0.01)


def go_on(hub, content):
    """Run it again to the end, and see that what was kept was not sent again."""
    (part,) = folder().glob('*.part')
    kept = part.stat().st_size
    assert 1_000_000 < kept < len(content)
    hub.wait_for_answers()
    hub.sent, hub.pause_s = 0, 0.0
    assert main(ARGUMENTS) == 0
    assert hub.sent == len(content) - kept
    assert (folder() / 'model.safetensors').read_bytes() == content
    names = sorted(path.name for path in folder().iterdir())
    assert names == ['SOURCE.json', 'config.json', 'model.safetensors']


def test_killed(hub, slow):
    with start() as process:
        wait_for(hub, 2_000_000)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not (folder() / 'model.safetensors').exists()
    go_on(hub, slow)


def test_stopped_by_the_user(hub, slow):
    with start() as process:
        wait_for(hub, 2_000_000)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert error.startswith('theia-ros fetch: stopped; ')
    assert f'are kept in {cache_folder()}, and the same command goes on from there\n' in error
    assert error.count('\n') == 1
    go_on(hub, slow)


def test_full_disk(hub, slow):
    hub.pause_s = 0.0
    limit = 3_000_000

    def little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    with start(preexec_fn=little_room) as process:
        _, error = process.communicate(timeout=30)
    assert process.returncode == 2
    assert error == (
        f'theia-ros fetch: {folder()} has no room for model.safetensors: File too large; '
        '3.0 MB are kept, make room, or name another cache folder with THEIA_ROS_CACHE, '
        'and run it again\n'
    )
    go_on(hub, slow)
