from __future__ import annotations

import time

import pytest

from theia_ros.timing import Latencies
from theia_ros.timing import Spread
from theia_ros.timing import Stopwatch


def test_steps_add_up_and_keep_their_order() -> None:
    clock = Stopwatch()
    with clock.step('b'):
        time.sleep(0.002)
    with clock.step('a'):
        pass
    first_ms = clock.step_ms['b']
    with clock.step('b'):
        time.sleep(0.002)
    assert list(clock.step_ms) == ['b', 'a']
    assert 2 <= first_ms < clock.step_ms['b'] - 2 + 1e-9
    assert 0 <= clock.step_ms['a'] < first_ms


def test_a_step_that_fails_is_timed_too() -> None:
    clock = Stopwatch()
    with pytest.raises(KeyError), clock.step('x'):
        raise KeyError
    assert clock.step_ms['x'] >= 0


def test_what_is_usual_is_told_of_the_newest() -> None:
    latencies = Latencies()
    for ms in range(1, 101):
        latencies.add({'compute': float(ms)})
    latencies.add({'decode': 3.0})
    spreads = latencies.spreads()
    assert list(spreads) == ['compute', 'decode']
    assert spreads['compute'] == Spread(100, 50.5, 95.05, 99.01, 100.0)
    assert spreads['decode'] == Spread(1, 3.0, 3.0, 3.0, 3.0)
    for _ in range(600):
        latencies.add({'compute': 7.0})
    assert latencies.spreads()['compute'] == Spread(700, 7.0, 7.0, 7.0, 7.0)
