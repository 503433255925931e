"""Encoded images, such as JPEG and PNG, to pixels."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL import UnidentifiedImageError

from theia_ros.errors import FrameError
from theia_ros.errors import one_line

# Modes of Pillow that hold 8 bits a channel, so that turning them into RGB loses no depth.
_8_BIT = ('1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA', 'RGBX', 'CMYK', 'YCbCr')

_CAMERA_FORMATS = ('JPEG', 'PNG')
_MOST_PIXELS = 1 << 26
"""Of a camera's picture, 8192x8192; decoding takes some seven bytes for each."""
_MOST_PIXELS_PER_BYTE = 8 * 1032
"""No deflated byte becomes more than 1032 bytes, and none of these holds more than 8 pixels."""


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Read an image file of any format that Pillow knows; see `decode_rgb`."""
    return _decode(path, None, str(path))


def decode_rgb(data: bytes | bytearray | memoryview) -> NDArray[np.uint8]:
    """Return the pixels of a JPEG or PNG image as (H, W, 3) uint8, red first.

    Transparency is dropped, 16-bit grey keeps its high byte, and an orientation tag is not
    applied: pixels are taken as they are stored, as in a raw image. Pillow does it and not
    OpenCV, which returns the upper part of a truncated JPEG without an error.

    Raises:
        FrameError: It is no such image, or a damaged one, or its pixels are of another type.
    """
    most = min(_MOST_PIXELS, _MOST_PIXELS_PER_BYTE * len(data))
    return _decode(io.BytesIO(data), _CAMERA_FORMATS, f'image of {len(data)} bytes', most)


def _decode(
    file: Path | io.BytesIO,
    formats: tuple[str, ...] | None,
    name: str,
    most_pixels: float = math.inf,
) -> NDArray[np.uint8]:
    try:
        with Image.open(file, formats=formats) as image:
            # Before memory is taken for what a damaged header claims.
            if image.width * image.height > most_pixels:
                raise FrameError(
                    'size', f'{name} claims {image.width}x{image.height} pixels; too many for it'
                )
            # Until version 11 Pillow had 32 bits for what a PNG has in 16.
            if image.mode.startswith('I;16') or (image.mode, image.format) == ('I', 'PNG'):
                grey = (np.asarray(image) >> 8).astype(np.uint8)
                return np.repeat(grey[..., None], 3, axis=2)
            if image.mode not in _8_BIT:
                raise FrameError(
                    'depth',
                    f'{name} has pixels of type {image.mode}; expected 8 bits a channel',
                )
            return np.asarray(image.convert('RGB'))
    except UnidentifiedImageError as exc:
        known = f'expected {" or ".join(formats)}' if formats else 'Pillow knows no such format'
        raise FrameError('format', f'{name} is no image: {known}') from exc
    except FrameError:
        raise
    except Exception as exc:  # a damaged file leads Pillow to nearly every kind there is
        raise FrameError('decode', f'{name} cannot be decoded: {one_line(exc)}') from exc
