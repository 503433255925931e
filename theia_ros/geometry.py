"""From a patch grid to the camera's pixels.

The model sees the whole picture squashed to a square, so stretching a grid over the picture puts
it back. DINOv2's grid covers only the middle of it; the border around is left empty.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from theia_ros.preprocess import covered_region


def map_hw(image_hw: tuple[int, int], map_width_px: int) -> tuple[int, int]:
    """Return rows and columns of the maps of a camera, in its own aspect.

    Args:
        image_hw: Rows and columns of the camera's pictures.
        map_width_px: Most columns of a map.
    """
    height_px, width_px = image_hw
    if width_px <= map_width_px:
        return image_hw
    return max(1, round(height_px * map_width_px / width_px)), map_width_px


def stretch(grid: Tensor, size_hw: tuple[int, int], view: float, mode: str) -> Tensor:
    """Stretch a grid over a map.

    Args:
        grid: (C, h, w), float unless `mode` is `nearest`.
        size_hw: Rows and columns of the map.
        view: Part of each side that the grid covers, centred.
        mode: `nearest` repeats cells, as the published code does: pixel i of n shows cell
            floor(i * cells / n). `bilinear` mixes them.

    Returns:
        (C, H, W), zero where the grid does not reach.
    """
    region = covered_region(size_hw, view)
    size = (region.height_px, region.width_px)
    if mode == 'nearest':
        # In whole numbers: torch multiplies by a rounded ratio, and misses some cells by one.
        rows, columns = (
            torch.arange(pixels, device=grid.device) * cells // pixels
            for pixels, cells in zip(size, grid.shape[1:], strict=True)
        )
        stretched = grid[:, rows][:, :, columns]
    else:
        stretched = F.interpolate(grid[None], size, mode=mode, align_corners=False)[0]
    right = size_hw[1] - region.x_px - region.width_px
    bottom = size_hw[0] - region.y_px - region.height_px
    return F.pad(stretched, (region.x_px, right, region.y_px, bottom))
