from __future__ import annotations

import math

import pytest
import torch

from theia_ros.distil.metrics import Classes
from theia_ros.distil.metrics import Cosine
from theia_ros.distil.metrics import Depth
from theia_ros.parts import Statistics

UNIT = Statistics(torch.full((1,), 0.5), torch.full((1,), 2.0))


def logs(*metres: float) -> torch.Tensor:
    """Return (1, N, 1), normalised with UNIT."""
    return (torch.tensor(metres).log().view(1, -1, 1) - 0.5) / 2


def test_cosine_is_the_mean_over_tokens() -> None:
    metric = Cosine()
    metric.add(torch.tensor([[[1.0, 0.0], [2.0, 0.0]]]), torch.tensor([[[3.0, 0.0], [0.0, 1.0]]]))
    metric.add(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[-1.0, 0.0]]]))
    assert metric.figures() == {'cosine': pytest.approx(0.0)}


def test_depth_is_judged_in_metres() -> None:
    metric = Depth(UNIT)
    metric.add(logs(1.1, 3.0, 2.0), logs(1.0, 2.0, float('nan')))
    metric.add(logs(1.2), logs(1.0))
    figures = metric.figures()
    assert figures['abs_rel'] == pytest.approx((0.1 + 0.5 + 0.2) / 3, abs=1e-5)
    assert figures['delta_1.25'] == pytest.approx(2 / 3)


def test_too_near_counts_like_too_far() -> None:
    metric = Depth(UNIT)
    metric.add(logs(1.0, 1.0), logs(1.3, 1.2))
    assert metric.figures()['delta_1.25'] == 0.5


def sure_of(*classes: int) -> torch.Tensor:
    """Return logits (1, N, 512) of tokens whose 16 parts are all of one class."""
    logits = torch.zeros(1, len(classes), 32, 16)
    for i, label in enumerate(classes):
        logits[0, i, label] = 1
    return logits.flatten(2)


def labels(*classes: int) -> torch.Tensor:
    return torch.tensor(classes, dtype=torch.uint8).view(1, -1, 1).expand(1, -1, 16)


def test_classes_are_judged_by_their_union() -> None:
    metric = Classes()
    metric.add(sure_of(1, 1, 2), labels(1, 2, 2))
    metric.add(sure_of(7), labels(255))  # unknown: whatever is said of it
    # Class 1: one of two; class 2: one of two.
    assert metric.figures() == {'miou': pytest.approx(0.5)}


def test_a_class_that_is_not_there_counts_only_as_a_mistake() -> None:
    metric = Classes()
    metric.add(sure_of(1, 5), labels(1, 1))
    assert metric.figures() == {'miou': pytest.approx(0.5)}


def test_nothing_to_judge_is_no_figure() -> None:
    for metric in (Cosine(), Depth(UNIT), Classes()):
        assert all(math.isnan(value) for value in metric.figures().values())
