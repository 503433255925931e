"""Points in space from relative inverse depth, once somebody says how near and how far.

Depth Anything gives inverse depth up to a scale and an offset that differ from picture to picture.
Two distances settle both, so the shape is right if they are; it is for looking at, not for
measuring.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def points_of(
    inverse_depth: NDArray[np.float32],
    intrinsics: NDArray[np.float64],
    near_m: float,
    far_m: float,
    columns: int,
) -> NDArray[np.float32]:
    """Return a grid of points, in the camera's optical frame.

    Args:
        inverse_depth: (H, W), 0 farthest to 1 nearest.
        intrinsics: (3, 3), K of a pinhole camera for these pixels; distortion is not looked at.
        near_m: Distance of what is nearest, metres, along the optical axis.
        far_m: Of what is farthest.
        columns: Most columns of the grid; pixels between its points are left out.

    Returns:
        (h, w, 4): metres to the right, down and forward, and the inverse depth.
    """
    step = -(-inverse_depth.shape[1] // columns)
    nearness = inverse_depth[step // 2 :: step, step // 2 :: step].astype(np.float64)
    z = 1 / (nearness / near_m + (1 - nearness) / far_m)
    v, u = np.mgrid[: nearness.shape[0], : nearness.shape[1]] * step + step // 2
    focal_x, focal_y = intrinsics[0, 0], intrinsics[1, 1]
    x, y = (u - intrinsics[0, 2]) / focal_x * z, (v - intrinsics[1, 2]) / focal_y * z
    return np.stack([x, y, z, nearness], axis=-1).astype(np.float32)
