"""What is told of a camera, by the counters that it has."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from theia_ros.nodes.camera import Camera
from theia_ros.nodes.diagnostics import camera_status
from theia_ros.timing import Spread

pytestmark = pytest.mark.needs_ros

PIPELINE = SimpleNamespace(dropped=lambda camera: 3, skipped=lambda camera: 4)


def heard(name='left', ago_s=0.0):
    """Return a camera whose last image came some time ago."""
    camera = Camera(name, f'/{name}/image_raw')
    camera.silent_s = lambda: ago_s
    return camera


def told(camera, spreads=None, limit_s=0.0):
    status = camera_status('theia', camera, PIPELINE, spreads or {}, limit_s)
    return status, {v.key: v.value for v in status.values}


def test_camera_that_is_heard_is_good():
    camera = heard()
    camera.received, camera.encoded = 9, 2

    status, values = told(camera, limit_s=5.0)

    assert (status.name, status.hardware_id) == ('theia: camera left', 'theia_ros')
    assert (status.level, status.message) == (DiagnosticStatus.OK, 'receiving')
    assert values['topic'] == '/left/image_raw'
    counters = {key: int(value) for key, value in values.items() if value.isdigit()}
    assert {key: n for key, n in counters.items() if n} == {
        'received': 9,
        'encoded': 2,
        'dropped': 3,
        'maps_skipped': 4,
    }


@pytest.mark.parametrize(
    ('limit_s', 'level', 'message'),
    [
        (5.0, DiagnosticStatus.WARN, 'no image on /left/image_raw for 60 s'),
        (90.0, DiagnosticStatus.OK, 'receiving'),
        (0.0, DiagnosticStatus.OK, 'receiving'),
    ],
)
def test_silence_is_a_warning_after_its_limit(limit_s, level, message):
    status, values = told(heard(ago_s=60.0), limit_s=limit_s)

    assert (status.level, status.message) == (level, message)
    assert values['silent_s'] == '60.0'


@pytest.mark.parametrize(
    ('ago_s', 'level'), [(1.0, DiagnosticStatus.WARN), (60.0, DiagnosticStatus.OK)]
)
def test_bad_images_are_told_for_good_and_warned_about_for_a_while(ago_s, level):
    camera = heard()
    camera.bad.update(encoding=2, step=1)
    camera.last_bad_ns = time.monotonic_ns() - round(ago_s * 1e9)

    status, values = told(camera)

    assert (status.level, status.message) == (level, '3 bad images: encoding 2, step 1')
    assert values['bad'] == '3'


def test_latencies_are_those_of_the_camera_and_of_no_other():
    spread = Spread(1, 1.0, 2.0, 3.0, 4.0)
    names = ('compute', 'left/receive_to_publish', 'front_left/receive_to_publish')

    _, values = told(heard('left'), dict.fromkeys(names, spread))

    assert {key: value for key, value in values.items() if '_ms' in key} == {
        'receive_to_publish_ms p50/p95/p99': '1.00 / 2.00 / 3.00'
    }
