"""Maps that are finer than a head's grid: the channels of a token are the parts of its cell."""

from __future__ import annotations

from torch import Tensor

from theia_ros.catalog import CLASSES
from theia_ros.catalog import SUBCELLS
from theia_ros.catalog import TARGETS

_CELLS = TARGETS['depth'].grid_hw[0]
SIDE = _CELLS * SUBCELLS
"""Rows, and columns, of a map."""


def to_tokens(maps: Tensor) -> Tensor:
    """Return maps (B, 64, 64) as tokens (B, 256, 16): cells row by row, and parts likewise."""
    parts = maps.reshape(len(maps), _CELLS, SUBCELLS, _CELLS, SUBCELLS).transpose(2, 3)
    return parts.reshape(len(maps), _CELLS**2, SUBCELLS**2)


def to_maps(tokens: Tensor) -> Tensor:
    """Return tokens (B, 256, 16) as maps (B, 64, 64)."""
    parts = tokens.reshape(len(tokens), _CELLS, _CELLS, SUBCELLS, SUBCELLS).transpose(2, 3)
    return parts.reshape(len(tokens), SIDE, SIDE)


def class_logits(tokens: Tensor) -> Tensor:
    """Return what a head for classes gives (B, N, 512) as (B, N, classes, parts of a cell)."""
    return tokens.reshape(*tokens.shape[:2], CLASSES, SUBCELLS**2)
