"""Pictures to encode: made by rule, with edges, slopes and noise, no two of them alike."""

from __future__ import annotations

import numpy as np
from PIL import Image

from theia_ros.datatypes import Frame

_PATCH_PX = 40
"""Width of a blob of colour."""


def make_frames(count: int, image_hw: tuple[int, int]) -> list[Frame]:
    """Return different pictures of one size, the same ones each time.

    Args:
        count: Number of pictures.
        image_hw: Rows and columns.
    """
    height_px, width_px = image_hw
    frames = []
    for seed in range(count):
        random = np.random.default_rng(seed)
        rows, columns = 2 + height_px // _PATCH_PX, 2 + width_px // _PATCH_PX
        blobs = Image.fromarray(random.integers(0, 256, (rows, columns, 3), np.uint8))
        smooth = np.asarray(blobs.resize((width_px, height_px), Image.Resampling.BICUBIC))
        noise = random.integers(-12, 13, (height_px, width_px, 1))
        rgb = np.clip(smooth + noise, 0, 255).astype(np.uint8)
        x, y = random.integers(0, (width_px, height_px))
        rgb[y : y + height_px // 3, x : x + width_px // 4] = random.integers(0, 256, 3, np.uint8)
        frames.append(Frame(rgb))
    return frames
