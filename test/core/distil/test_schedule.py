from __future__ import annotations

import numpy as np
import pytest

from theia_ros.distil.schedule import learning_rate
from theia_ros.distil.schedule import positions


def rates(steps: int, warmup: float, schedule: str) -> list[float]:
    return [learning_rate(s, steps, 5e-4, warmup, schedule) for s in range(steps)]


def test_warm_up_is_a_line_from_a_hundredth_as_torch_has_it() -> None:
    import torch

    weights = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weights], lr=5e-4)
    warm = torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, 1.0, total_iters=10)
    found = rates(100, 0.1, 'constant')
    for expected in found[:20]:
        assert optimizer.param_groups[0]['lr'] == pytest.approx(expected, rel=1e-9)
        optimizer.step()
        warm.step()
    assert found[0] == pytest.approx(5e-6)
    assert set(found[10:]) == {5e-4}


def test_cosine_falls_from_the_highest_to_nothing() -> None:
    found = rates(100, 0.1, 'cosine')
    assert found[10] == 5e-4
    assert found[55] == pytest.approx(2.5e-4)
    assert 0 < found[-1] < 1e-6
    assert (np.diff(found[10:]) < 0).all()


def test_without_warm_up_the_first_step_is_a_whole_one() -> None:
    assert rates(3, 0, 'constant') == [5e-4] * 3


def test_every_picture_is_seen_once_in_each_epoch() -> None:
    seen = np.concatenate([positions(step, 4, 10, seed=3) for step in range(5)])
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()


def test_the_order_is_that_of_the_seed() -> None:
    assert (positions(7, 4, 10, seed=3) == positions(7, 4, 10, seed=3)).all()
    assert any((positions(s, 4, 10, 3) != positions(s, 4, 10, 4)).any() for s in range(3))


def test_an_update_may_be_larger_than_the_data() -> None:
    assert sorted(positions(0, 6, 2, seed=0)) == [0, 0, 0, 1, 1, 1]
