"""Learning rate and order of the pictures: pure functions of the step, so that a run can go on."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

FIRST_PART = 0.01
"""Of the highest learning rate, at step 0 of a warm-up."""


def learning_rate(step: int, steps: int, highest: float, warmup: float, schedule: str) -> float:
    """Return the learning rate of a step.

    Args:
        step: From 0 on.
        steps: Of the whole run.
        highest: What the warm-up ends with.
        warmup: Part of the steps in which it rises, in a straight line from 1 % on.
        schedule: `constant`, or `cosine` that falls to 0 at the end.
    """
    rising = round(warmup * steps)
    if step < rising:
        return highest * (FIRST_PART + (1 - FIRST_PART) * step / rising)
    if schedule == 'constant':
        return highest
    passed = (step - rising) / max(1, steps - rising)
    return highest * 0.5 * (1 + math.cos(math.pi * passed))


def epoch_order(count: int, epoch: int, seed: int) -> NDArray[np.int64]:
    """Return the order of pictures 0 to `count` - 1 in an epoch."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def positions(step: int, update_size: int, count: int, seed: int) -> NDArray[np.int64]:
    """Return which of `count` pictures an update sees; epochs follow without a gap."""
    first = step * update_size
    wanted = np.arange(first, first + update_size)
    epochs = np.unique(wanted // count)
    orders = {epoch: epoch_order(count, int(epoch), seed) for epoch in epochs}
    return np.array([orders[w // count][w % count] for w in wanted])
