"""Calibration of a camera for pictures of another size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from theia_ros.datatypes import Region


def scale_intrinsics(
    matrix: NDArray[np.float64], source: Region, size_hw: tuple[int, int]
) -> NDArray[np.float64]:
    """Return a camera matrix for a map of another size.

    A pixel's centre has whole coordinates, as in OpenCV and ROS, so that the outer edge of the
    first pixel lies at -0.5 and stays there: centres move by more than the ratio of the sizes.
    Distortion and rectification do not depend on the size and stay as they are.

    Args:
        matrix: (3, 3) such as K, or (3, 4) such as P, for the pixels of the calibration.
        source: Of those pixels, what the picture shows: all of them, or the region of interest.
            How often they are binned shows in `size_hw` already.
        size_hw: Rows and columns of the map.
    """
    height_px, width_px = size_hw
    x, y = width_px / source.width_px, height_px / source.height_px
    scale = np.array(
        [
            [x, 0.0, x * (0.5 - source.x_px) - 0.5],
            [0.0, y, y * (0.5 - source.y_px) - 0.5],
            [0.0, 0.0, 1.0],
        ]
    )
    with np.errstate(over='ignore', invalid='ignore'):  # as IEEE 754 has it
        scaled: NDArray[np.float64] = scale @ matrix
    return scaled
