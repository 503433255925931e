"""Pixels to model input, and from the patch grid back to pixels.

A preset turns camera pictures into the model's uint8 pixels; the model itself begins with
`NORMALISED`, the float of each of the 256 values, so that pixels travel to the device as bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from theia_ros.catalog import IMAGE_PX
from theia_ros.catalog import PATCH_PX
from theia_ros.datatypes import Region
from theia_ros.errors import FrameError
from theia_ros.resize import fastest

# Rescaled in double precision, rounded, then shifted in single precision: the order of the
# published processor. (u8 - 127.5) / 127.5 differs from it in the last bit of some values.
NORMALISED: NDArray[np.float32] = (
    (np.arange(256) * (1 / 255)).astype(np.float32) - np.float32(0.5)
) / np.float32(0.5)


def official(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Squash a picture to the square that the model was trained on.

    The bilinear filter of the published processor; the aspect is not kept.

    Args:
        rgb: (H, W, 3), red first, any size.

    Returns:
        (224, 224, 3), the same bytes as the published code.
    """
    if rgb.shape[:2] == (IMAGE_PX, IMAGE_PX):
        return rgb
    resize, _ = fastest()
    return resize(rgb)


def native(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture as it is; heads have no output for grids other than 14 by 14.

    Raises:
        FrameError: A side is not a multiple of the patch size.
    """
    height_px, width_px = rgb.shape[:2]
    if height_px % PATCH_PX or width_px % PATCH_PX:
        fits = tuple(max(PATCH_PX, s // PATCH_PX * PATCH_PX) for s in (width_px, height_px))
        raise FrameError(
            'size',
            f'preprocessing native needs sides that are multiples of {PATCH_PX}, found '
            f'{width_px}x{height_px}; {fits[0]}x{fits[1]} fits',
        )
    return rgb


PRESETS: Mapping[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    'official': official,
    'native': native,
}


def prepare(pictures: Sequence[NDArray[np.uint8]], preset: str) -> NDArray[np.uint8]:
    """Make a batch of model input from pictures.

    Args:
        pictures: (H, W, 3) each, red first.
        preset: Key of `PRESETS`.

    Returns:
        (B, H, W, 3), H and W as the preset gives them.

    Raises:
        FrameError: The preset cannot take a picture, or gives different sizes.
    """
    pixels = [PRESETS[preset](picture) for picture in pictures]
    sizes = sorted({p.shape[:2] for p in pixels})
    if len(sizes) > 1:
        raise FrameError('size', f'pictures of a batch must have one size, found {sizes}')
    return np.stack(pixels)


def covered_region(image_hw: tuple[int, int], view: float) -> Region:
    """Return the pixels of a picture that a grid covers.

    Args:
        image_hw: Rows and columns of the picture.
        view: Covered part of each side, centred; see `catalog.Teacher`.
    """
    height_px, width_px = image_hw
    y_px, x_px = round(height_px * (1 - view) / 2), round(width_px * (1 - view) / 2)
    return Region(x_px, y_px, width_px - 2 * x_px, height_px - 2 * y_px)
