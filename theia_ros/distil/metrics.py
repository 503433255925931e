"""How good predictions are, summed up over many pictures."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from theia_ros.catalog import CLASSES
from theia_ros.cells import class_logits
from theia_ros.distil.truth import UNKNOWN
from theia_ros.parts import Statistics


class Metric(Protocol):
    """Takes pictures in, and gives figures in the end."""

    def add(self, predicted: Tensor, target: Tensor) -> None:
        """Take predictions (B, N, C) and their targets in, both normalised."""

    def figures(self) -> dict[str, float]:
        """Return the figures by name; NaN where there was nothing to judge."""


class Cosine:
    """Mean cosine of the normalised tokens: 0 is what the mean token gets, 1 is perfect."""

    def __init__(self) -> None:
        self._total, self._count = 0.0, 0

    def add(self, predicted: Tensor, target: Tensor) -> None:
        """Take pictures in."""
        cosine = F.cosine_similarity(predicted, target, dim=-1)
        self._total += float(cosine.double().sum())
        self._count += cosine.numel()

    def figures(self) -> dict[str, float]:
        """Return `cosine`."""
        return {'cosine': self._total / self._count if self._count else float('nan')}


class Depth:
    """Relative error in metres, and the part of cells that is within a quarter."""

    def __init__(self, statistics: Statistics) -> None:
        """Judge logarithms that were normalised with these statistics."""
        self._statistics = statistics
        self._error, self._near, self._count = 0.0, 0, 0

    def add(self, predicted: Tensor, target: Tensor) -> None:
        """Take pictures in; cells of unknown depth do not count."""
        known = target.isfinite()
        off = (self._statistics.denormalise(predicted) - self._statistics.denormalise(target))[
            known
        ]
        self._error += float(off.double().expm1().abs().sum())  # |d - d*| / d*
        self._near += int((off.abs() < torch.tensor(1.25).log()).sum())
        self._count += int(known.sum())

    def figures(self) -> dict[str, float]:
        """Return `abs_rel` and `delta_1.25`."""
        if not self._count:
            return {'abs_rel': float('nan'), 'delta_1.25': float('nan')}
        return {'abs_rel': self._error / self._count, 'delta_1.25': self._near / self._count}


class Classes:
    """Intersection over union, as a mean over the classes that are there."""

    def __init__(self) -> None:
        self._pairs = torch.zeros(CLASSES * CLASSES, dtype=torch.long)

    def add(self, predicted: Tensor, target: Tensor) -> None:
        """Take pictures in; cells of unknown class do not count."""
        found, known = class_logits(predicted).argmax(dim=2), target != UNKNOWN
        pairs = target[known].long() * CLASSES + found[known]
        self._pairs += torch.bincount(pairs.cpu(), minlength=CLASSES * CLASSES)

    def figures(self) -> dict[str, float]:
        """Return `miou`."""
        pairs = self._pairs.view(CLASSES, CLASSES).double()
        there = pairs.sum(dim=1) > 0
        both = pairs.diagonal()
        union = pairs.sum(dim=0) + pairs.sum(dim=1) - both
        return {'miou': float((both / union)[there].mean()) if there.any() else float('nan')}


def metric_for(teacher: str, statistics: Statistics | None) -> Metric:
    """Return what judges the head of a teacher."""
    if teacher == 'classes':
        return Classes()
    if teacher == 'depth':
        assert statistics
        return Depth(statistics)
    return Cosine()
