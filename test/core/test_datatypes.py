from __future__ import annotations

import numpy as np
import pytest

from theia_ros.datatypes import Features
from theia_ros.datatypes import Frame
from theia_ros.datatypes import Region
from theia_ros.errors import FrameError

REGION = Region(0, 0, 6, 4)


def test_a_map_has_rows_before_columns_and_shares_memory() -> None:
    tokens = np.arange(2 * 3 * 5, dtype=np.float32).reshape(6, 5)
    features = Features('theia', tokens, (2, 3), REGION)
    grid = features.as_map()
    assert grid.shape == (5, 2, 3)
    assert grid[4, 1, 2] == tokens[1 * 3 + 2, 4]
    assert np.shares_memory(grid, tokens)


def test_tokens_without_a_grid_are_no_map() -> None:
    pooled = Features('theia', np.zeros((1, 5), np.float32), (0, 0), REGION)
    with pytest.raises(ValueError, match='the 1 tokens of theia lie on no grid'):
        pooled.as_map()


def test_a_frame_tells_rows_first() -> None:
    assert Frame(np.zeros((4, 6, 3), np.uint8)).image_hw == (4, 6)


@pytest.mark.parametrize(
    ('rgb', 'found'),
    [
        pytest.param(np.zeros((9, 7), np.uint8), r'\(9, 7\) uint8', id='grey'),
        pytest.param(np.zeros((9, 7, 4), np.uint8), r'\(9, 7, 4\) uint8', id='four-channels'),
        pytest.param(np.zeros((9, 7, 3), np.float32), r'\(9, 7, 3\) float32', id='float'),
        pytest.param(np.zeros((0, 7, 3), np.uint8), r'\(0, 7, 3\) uint8', id='no-pixel'),
    ],
)
def test_anything_but_a_colour_picture_is_refused(rgb, found) -> None:
    with pytest.raises(
        FrameError, match=rf'an \(H, W, 3\) uint8 picture, found {found}$'
    ) as caught:
        Frame(rgb)
    assert caught.value.reason == 'shape'
