"""How good a policy is: single actions beside those of the expert, and whole episodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from clone.episodes import Examples
from clone.episodes import Task
from clone.heads import Policy
from clone.task import MOST_DECISIONS

_FILMED = 4
"""Every so many decisions are in the film."""


def open_loop(policy: Policy, examples: Examples) -> dict[str, Any]:
    """Return how far single actions are from the expert's."""
    return _compared(policy.actions(examples.tokens, examples.states), examples.actions)


def guess(train: Tensor, wanted: Tensor) -> dict[str, Any]:
    """Return the same for a policy that looks at nothing: always the mean move and usual grip."""
    mean = train.mean(dim=0)
    mean[3] = (mean[3] > 0.5).float()
    return _compared(mean.expand(len(wanted), -1), wanted)


def _compared(actions: Tensor, wanted: Tensor) -> dict[str, Any]:
    away_m = (actions[:, :3] - wanted[:, :3]).norm(dim=1)
    right = (actions[:, 3] == wanted[:, 3]).float()
    return {
        'move_error_mm': round(1000 * float(away_m.mean()), 2),
        'move_error_p95_mm': round(1000 * float(away_m.quantile(0.95)), 2),
        'grip_right': round(float(right.mean()), 4),
        'decisions': len(actions),
        'first_errors_mm': [round(1000 * float(e), 1) for e in away_m[:MOST_DECISIONS]],
    }


def play(
    task: Task, act: Callable[[Task], NDArray[np.float32]], film: list[NDArray[np.uint8]] | None
) -> dict[str, Any]:
    """Let a policy play one episode; return whether it lifted the thing and brought it home."""
    lifted, decisions = False, 0
    while not task.done and decisions < MOST_DECISIONS:
        if film is not None and decisions % _FILMED == 0:
            film.append(task.overview())
        task.act(act(task))
        decisions += 1
        lifted |= task.lifted
    if film is not None:
        film.append(task.overview())
    return {'done': task.done, 'lifted': lifted, 'decisions': decisions}
