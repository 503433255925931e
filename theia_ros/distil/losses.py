"""The losses of a head: as published for features, and others for the truth of a simulator.

Shang et al., "Theia", CoRL 2024: 0.9 of the cosine loss and 0.1 of the smooth L1 loss, each the
mean over teachers.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from theia_ros.cells import class_logits
from theia_ros.distil.truth import UNKNOWN

Losses = dict[str, Tensor]


def feature_losses(predicted: Tensor, target: Tensor) -> Losses:
    """Return `mse`, `cos` and `l1` of normalised features (B, N, C).

    The cosine is that of a whole picture, tokens and channels together.
    """
    cosine = F.cosine_similarity(predicted.flatten(1), target.flatten(1), dim=1)
    return {
        'mse': F.mse_loss(predicted, target),
        'cos': 1 - cosine.mean(),
        'l1': F.smooth_l1_loss(predicted, target),
    }


def depth_losses(predicted: Tensor, target: Tensor) -> Losses:
    """Return `l1`, over the cells (B, N, C) whose depth is known; the others are NaN."""
    known = target.isfinite()
    error = F.smooth_l1_loss(predicted, torch.where(known, target, predicted), reduction='sum')
    return {'l1': error / known.sum().clamp_min(1)}


def class_losses(predicted: Tensor, target: Tensor) -> Losses:
    """Return `ce`, the cross entropy over the cells (B, N, C) whose class is known."""
    # One row for each cell: of more axes torch has no sum on CUDA that is the same every time.
    logits = class_logits(predicted).movedim(2, 3).flatten(0, 2)
    cells = target.long().flatten()
    error = F.cross_entropy(logits, cells, ignore_index=UNKNOWN, reduction='sum')
    return {'ce': error / (target != UNKNOWN).sum().clamp_min(1)}


def losses_of(teacher: str, predicted: Tensor, target: Tensor) -> Losses:
    """Return every loss of one teacher's head."""
    kind = {'depth': depth_losses, 'classes': class_losses}.get(teacher, feature_losses)
    return kind(predicted.float(), target)


def total(losses: Mapping[str, Losses], loss: str) -> Tensor:
    """Return what is minimised: the mean over teachers.

    Args:
        losses: By teacher.
        loss: `cos_l1` or `mse`, for features.
    """
    return torch.stack([_one(of_teacher, loss) for of_teacher in losses.values()]).mean()


def _one(losses: Losses, loss: str) -> Tensor:
    if 'cos' not in losses:
        return next(iter(losses.values()))
    return losses['mse'] if loss == 'mse' else 0.9 * losses['cos'] + 0.1 * losses['l1']
