"""What a soak is judged by."""

from __future__ import annotations

import json

import numpy as np
import pytest

from theia_ros.soak import figures

HOUR_S = 3600.0


def test_a_line_is_found_again() -> None:
    times_s = np.arange(0.0, HOUR_S, 5.0)

    found = figures.growth(times_s, 200 + 4 * times_s / HOUR_S, 0.0)

    assert found.percent_per_hour == pytest.approx(2.0)
    assert found.error_percent_per_hour == pytest.approx(0.0, abs=1e-6)
    assert found.from_mb == pytest.approx(200.0)
    assert found.to_mb == pytest.approx(204.0, abs=0.01)
    assert found.measured_s == HOUR_S - 5
    assert figures.growth_problems('node', found) == [
        'node: memory grows by 2.00 % per hour; at most 1 % is allowed'
    ]


def test_the_warm_up_does_not_count() -> None:
    times_s = np.arange(0.0, HOUR_S, 10.0)
    memory_mb = np.where(times_s < 600, 50 + times_s, 650.0)

    found = figures.growth(times_s, memory_mb, 600.0)

    assert found.percent_per_hour == pytest.approx(0.0, abs=1e-9)
    assert found.from_mb == pytest.approx(650.0)
    assert figures.growth_problems('node', found) == []


def test_noise_is_told_from_growth_by_its_error() -> None:
    times_s = np.arange(0.0, HOUR_S, 5.0)
    noise_mb = np.random.default_rng(0).normal(0, 3.0, len(times_s))

    found = figures.growth(times_s, 300 + noise_mb, 0.0)

    # 3 MB over the root of 720 samples, and over an hour's spread of 1/sqrt(12): 0.387 MB.
    assert found.error_percent_per_hour == pytest.approx(100 * 0.387 / 300, rel=0.1)
    assert abs(found.percent_per_hour) < 4 * found.error_percent_per_hour


def test_shrinking_is_no_problem() -> None:
    times_s = np.arange(0.0, HOUR_S, 5.0)
    assert not figures.growth_problems('n', figures.growth(times_s, 300 - times_s / 60, 0.0))


def test_a_short_run_is_not_judged() -> None:
    times_s = np.arange(0.0, 60.0, 5.0)

    found = figures.growth(times_s, 300 + times_s, 0.0)

    assert found.percent_per_hour > 1000
    assert not found.long_enough
    assert figures.growth_problems('node', found) == []


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match='2 samples after the warm-up; expected 3 or more'):
        figures.growth([0.0, 1.0, 2.0], [5.0, 5.0, 5.0], 1.0)


COUNTERS = {
    'received': 100,
    'encoded': 60,
    'dropped': 20,
    'limited': 5,
    'stale': 4,
    'unwanted': 3,
    'bad': 2,
    'failed': 1,
    'lost': 7,
    'maps_skipped': 9,
}


def test_what_has_not_ended_is_in_flight() -> None:
    assert figures.in_flight(COUNTERS) == 5
    assert figures.in_flight({**COUNTERS, 'encoded': 65}) == 0


@pytest.mark.parametrize(
    ('running', 'left', 'problems'),
    [
        pytest.param([0, 3, 4, 1], 0, [], id='balanced'),
        pytest.param([], 0, [], id='never-sampled'),
        pytest.param([2, 5], 0, ['front: 5 pictures in flight; at most 4 can be'], id='piles-up'),
        pytest.param(
            [2, -1], 0, ['front: 1 more pictures ended than were received'], id='twice-counted'
        ),
        pytest.param([1], 2, ['front: 2 pictures unaccounted for at the end'], id='lost'),
        pytest.param([1], -1, ['front: -1 pictures unaccounted for at the end'], id='won'),
    ],
)
def test_balance(running: list[int], left: int, problems: list[str]) -> None:
    assert figures.balance_problems('front', running, left) == problems


@pytest.mark.parametrize(
    ('sent', 'received', 'lost', 'problems'),
    [
        pytest.param(64497, 60993, 3437, [], id='lost-ones-are-told'),
        pytest.param(
            63886,
            7041,
            180,
            [
                'front: 56665 of 63886 pictures neither arrived nor were reported lost; '
                'at most 1% may be'
            ],
            id='unheard-from-some-time-on',
        ),
    ],
)
def test_a_camera_that_is_not_heard(
    sent: int, received: int, lost: int, problems: list[str]
) -> None:
    # Balanced, as far as the node can tell: figures of a run that passed before this was judged.
    counters = {'received': received, 'lost': lost}
    assert figures.arrival_problems('front', sent, counters) == problems


RESULT = {
    'verdict': 'failed',
    'problems': ['front: 2 pictures unaccounted for at the end'],
    'memory': {
        'node_fake': {
            'percent_per_hour': -0.25,
            'error_percent_per_hour': 0.1,
            'from_mb': 450.0,
            'to_mb': 449.0,
            'measured_s': 1800.0,
        }
    },
    'cameras': {'front': {**COUNTERS, 'sent': 111, 'in_flight': 5}},
    'features': {'/fake/front/features': 58},
    'maps': {},
    'latency': [
        {
            'minute': float(minute),
            'camera': 'front',
            'step': step,
            'p50_ms': 10.0 + minute,
            'p95_ms': 20.0,
            'p99_ms': 30.0,
        }
        for minute in range(30)
        for step in ('receive_to_publish', 'stamp_to_publish')
    ],
}


def test_report_is_for_people() -> None:
    lines = figures.report(RESULT).splitlines()

    assert 'node_fake              450.0         -0.25  (+- 0.10)' in lines
    assert ' '.join(lines[4].split()) == 'front 111 100 60 20 5 4 3 2 1 7 5'
    assert 'features received  /fake/front/features 58' in lines
    rows = [line.split() for line in lines if line.startswith('front        minute')]
    assert [row[2] for row in rows] == ['0.0', '10.0', '19.0', '29.0']
    assert rows[0][3:] == ['10.0', '20.0', '30.0']
    assert lines[-2:] == [
        'PROBLEM  front: 2 pictures unaccounted for at the end',
        'verdict: failed',
    ]


def test_json_has_a_line_for_each_part() -> None:
    text = figures.as_json(RESULT)

    assert json.loads(text) == RESULT
    assert len(text.splitlines()) == len(RESULT) + 2


def test_growth_goes_into_json_and_back() -> None:
    found = figures.growth([0.0, 1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0], 0.0)
    plain = figures.as_plain(found)
    assert figures.Growth(**plain).percent_per_hour == pytest.approx(found.percent_per_hour)
