"""Mean and deviation of each channel of what teachers say, over the pictures to learn from."""

from __future__ import annotations

import io

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from theia_ros.catalog import TARGETS
from theia_ros.distil.data import Progress
from theia_ros.distil.data import SHARD
from theia_ros.distil.teachers import Targets
from theia_ros.distil.truth import OFFSET
from theia_ros.errors import ParameterError
from theia_ros.parts import Statistics


def measure(
    name: str, targets: Targets, pictures: NDArray[np.int64], progress: Progress
) -> Statistics:
    """Return the statistics of a teacher; cells of unknown depth do not count.

    Args:
        name: Key of `TARGETS`.
        targets: Of the teacher.
        pictures: That count.
        progress: Is told of it.

    Raises:
        ParameterError: No picture has a truth.
    """
    count, total, squares = torch.zeros(3, TARGETS[name].channels, dtype=torch.double)
    for start in range(0, len(pictures), SHARD):
        progress(f'statistics of {name}', start, len(pictures))
        tokens = targets.rows(pictures[start : start + SHARD]).double().flatten(0, 1)
        known = tokens.isfinite()
        tokens = torch.where(known, tokens, 0)
        count += known.sum(dim=0)
        total += tokens.sum(dim=0)
        squares += tokens.square().sum(dim=0)
    if not count.all():
        raise ParameterError(f'no picture to learn from has a {name}')
    mean = total / count
    std = (squares / count - mean.square()).clamp_min(0).sqrt()
    # A channel that never changes says nothing; dividing by its rounding would make it say much.
    std = std.clamp_min(1e-6 * float(std.max()) or 1.0)
    if name == 'depth':
        mean = mean - OFFSET * std
    return Statistics(mean.float(), std.float())


def normalise(tokens: Tensor, statistics: Statistics) -> Tensor:
    """Return tokens (B, N, C) as a head predicts them."""
    return (tokens - statistics.mean.to(tokens.device)) / statistics.std.to(tokens.device)


def files_of(name: str, statistics: Statistics) -> dict[str, bytes]:
    """Return the two files of a teacher's statistics, by their path in a model's folder."""
    stem = TARGETS[name].key.replace('/', '_')
    # The published names; the second holds deviations all the same.
    parts = {
        f'imagenet_mean_{stem}.npy': statistics.mean,
        f'imagenet_var_{stem}.npy': statistics.std,
    }
    found = {}
    for file, values in parts.items():
        content = io.BytesIO()
        np.save(content, values.cpu().numpy())
        found[f'statistics/{file}'] = content.getvalue()
    return found
