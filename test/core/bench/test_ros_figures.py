from __future__ import annotations

import pytest

from theia_ros.bench.ros_figures import busy_part
from theia_ros.bench.ros_figures import mean_steps
from theia_ros.bench.ros_figures import Received
from theia_ros.bench.ros_figures import summary


def test_summary_of_known_features() -> None:
    def came(camera, picture, latency_ms):
        stamp_ns = picture * 100_000_000  # 10 Hz
        return Received(camera, picture, stamp_ns, stamp_ns + latency_ms * 1_000_000)

    # Of each camera pictures 10 to 20; the second one lost 15 and 16.
    received = [came(0, i, 5) for i in range(10, 21)]
    received += [came(1, i, 7) for i in range(10, 21) if i not in (15, 16)]
    figures = summary(received, 2)
    assert figures['seconds'] == 1.0
    assert figures['sent_hz'] == 10.0
    assert figures['features_hz'] == 9.0
    assert figures['lost_part'] == pytest.approx(0.1)
    assert figures['latency'] == {
        'count': 20,
        'p50_ms': 5.0,
        'p95_ms': 7.0,
        'p99_ms': 7.0,
        'max_ms': 7.0,
    }
    nothing = summary([], 1)
    assert (nothing['lost_part'], nothing['sent_hz']) == (1.0, 0.0)


def test_steps_of_cameras_are_averaged_and_the_engine_is_busy() -> None:
    steps = mean_steps(
        {
            ('', 'compute'): {'count': 50, 'p50_ms': 10.0},
            ('a', 'receive_to_publish'): {'count': 40, 'p50_ms': 12.0},
            ('b', 'receive_to_publish'): {'count': 60, 'p50_ms': 14.0},
        }
    )
    assert steps['receive_to_publish'] == {'count': 50, 'p50_ms': 13.0}
    # 100 pictures made 50 batches: 80 pictures a second are 40 batches of 10 ms.
    assert busy_part(steps, pictures_hz=80.0, cameras=2) == pytest.approx(0.4)
