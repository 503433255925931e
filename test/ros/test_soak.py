"""scripts/soak, for a moment."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from theia_ros.soak import figures
from theia_ros.soak.__main__ import arguments

pytestmark = pytest.mark.needs_ros


@pytest.mark.slow
def test_short_soak_passes_and_tells_what_it_saw(tmp_path):
    path = tmp_path / 'soak.json'
    options = '--minutes 0.15 --every 1 --fake-cameras 2 --fake-hz 10 --real-cameras 0'

    done = subprocess.run(
        [sys.executable, '-m', 'theia_ros.soak', *options.split(), '--json', path],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(path.read_text())
    assert result['verdict'] == 'passed'
    assert result['problems'] == []
    assert done.stdout.startswith(figures.report(result))
    assert list(result['cameras']) == ['fake_0', 'fake_1']
    for counters in result['cameras'].values():
        assert counters['in_flight'] == 0
        assert 0 < counters['encoded'] <= counters['received'] <= counters['sent']
    assert all(n > 0 for n in (*result['features'].values(), *result['maps'].values()))
    assert set(result['rss_mb']) == {
        'node_fake',
        'camera_fake_0',
        'camera_fake_1',
        'features_fake',
        'maps_fake',
    }
    samples = result['rss_mb']['node_fake']
    assert len(samples) == len(result['times_s']) >= 4
    assert all(mb > 30 for mb in samples)
    assert {row['camera'] for row in result['latency']} == {'fake_0', 'fake_1'}
    assert all(row['p50_ms'] <= row['p99_ms'] for row in result['latency'])
    assert {row['node'] for row in result['held']} == {'node_fake'}
    assert '0:00 left' in done.stderr


MISTAKES = [
    pytest.param('--minutes 0', '--minutes is 0; use more than 0', id='no-time'),
    pytest.param(
        '--minutes 1 --fake-cameras 0 --real-cameras 0', 'use 0 or more, and one', id='no-camera'
    ),
    pytest.param('--minutes 1 --fake-hz 0', 'must be above 0', id='no-rate'),
    pytest.param('--minutes 0.1', 'too short for four samples', id='too-short'),
]


@pytest.mark.parametrize(('options', 'text'), MISTAKES)
def test_mistakes_are_told(capsys, options, text):
    with pytest.raises(SystemExit) as caught:
        arguments(options.split())
    assert caught.value.code == 2
    assert text in capsys.readouterr().err


def test_warm_up_is_a_fifth_of_the_run_at_most_ten_minutes():
    assert arguments(['--minutes', '30']).warm_up_minutes == pytest.approx(6.0)
    assert arguments(['--minutes', '300']).warm_up_minutes == pytest.approx(10.0)
