from __future__ import annotations

import time

import pytest

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
