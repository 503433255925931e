"""Depth and classes that a simulator knows, as targets of a head; see `cells.py`."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from theia_ros.cells import SIDE
from theia_ros.cells import to_tokens

_Value = TypeVar('_Value', bound=np.generic)

UNKNOWN = 255
"""Class of what nobody knows; the depth of it is 0."""
OFFSET = 3.0
"""Deviations by which targets of depth are above zero: a token around zero has no direction, and
the comparison of engines could say nothing of it."""


def pick(values: NDArray[_Value]) -> NDArray[_Value]:
    """Return the values (H, W) in the middle of each of 64 by 64 cells; none is a mixture."""
    rows, columns = (((np.arange(SIDE) + 0.5) * n / SIDE).astype(int) for n in values.shape)
    return values[np.ix_(rows, columns)]


def log_depth(depth_m: Tensor) -> Tensor:
    """Return the logarithm of depth maps (B, 64, 64) as tokens (B, 256, 16), NaN for 0."""
    return to_tokens(torch.where(depth_m > 0, depth_m, torch.nan).log())
