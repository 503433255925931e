"""Pictures of noise, and the sizes at which a resize is tried."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIZES_HW = [
    (480, 640),
    (720, 1280),
    (1080, 1920),
    (1, 1),
    (3, 5),
    (224, 300),
    (301, 224),
    (224, 224),
    (225, 223),
    (448, 448),
    (97, 1201),
    (16, 2000),
]


def noise(height_px: int, width_px: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return a picture (H, W, 3) of bytes by chance."""
    return np.random.default_rng(seed).integers(0, 256, (height_px, width_px, 3), np.uint8)


def hard_ones(height_px: int, width_px: int) -> list[NDArray[np.uint8]]:
    """Return pictures at the limits of a resize: of any bytes, of extremes, and white."""
    any_bytes = noise(height_px, width_px)
    return [any_bytes, any_bytes // 128 * 255, np.full_like(any_bytes, 255)]
