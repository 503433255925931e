"""The published resize on the CPU: what Pillow's bilinear filter gives, byte for byte.

Pillow resizes in two passes, first along rows and then along columns, and rounds to bytes after
each. A new pixel is a sum of old ones by weights that are whole multiples of 2**-22, so all of it
fits into 32-bit integers, and everything that can add gives the same bytes. The filter is a
triangle as wide as a new pixel, or as an old one where the picture grows (`Resample.c` in Pillow).

`resize.c` does this with vector instructions, faster than Pillow. It is compiled where theia_ros
is installed, and compared with Pillow before it is used; without it Pillow resizes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from collections.abc import Iterator
from functools import cache
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from theia_ros.catalog import IMAGE_PX
from theia_ros.errors import first_line

BITS = 22
"""Of a weight of one; with 8 bits of a pixel, 30 of 32."""
_TRIED = (480, 640), (97, 301), (100, 80)
LIBRARY = Path(__file__).with_name('_resize.so')
"""What setup.py and CMakeLists.txt make of `resize.c`."""

Resize = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""Makes (224, 224, 3) of (H, W, 3)."""


@cache
def fastest(library: Path = LIBRARY) -> tuple[Resize, str]:
    """Return what resizes pictures, and if it is Pillow, why."""
    try:
        compiled = Compiled(library)
    except (OSError, AttributeError) as exc:
        why = first_line(exc) if library.exists() else f'{library.name} was not compiled'
        return by_pillow, f'pictures are resized by Pillow, which takes longer: {why}'
    for picture in trials():
        if not np.array_equal(compiled(picture), by_pillow(picture)):
            return by_pillow, f'pictures are resized by Pillow: {library} gives other bytes'
    return compiled, ''


def trials() -> Iterator[NDArray[np.uint8]]:
    """Yield the pictures with which whatever resizes is tried before it is used."""
    rng = np.random.default_rng(0)
    for size in _TRIED:
        yield rng.integers(0, 256, (*size, 3), np.uint8)


def by_pillow(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Resize a picture with Pillow."""
    picture = Image.fromarray(rgb)
    # The rows first, as Pillow did by itself until 12; 13 begins with the columns where a picture
    # is tall, and since it rounds to bytes in between, a quarter of them would be others.
    narrow = picture.resize((IMAGE_PX, picture.height), Image.Resampling.BILINEAR)
    return np.asarray(narrow.resize((IMAGE_PX, IMAGE_PX), Image.Resampling.BILINEAR))


class Compiled:
    """Resize pictures with `resize.c`; for any number of threads at once."""

    def __init__(self, library: Path) -> None:
        """Load the library.

        Raises:
            OSError: It is not there, or not for this machine.
            AttributeError: It is another one.
        """
        loaded = ctypes.CDLL(str(library))
        pointer, size = ctypes.c_void_p, ctypes.c_ssize_t
        self._rows = loaded.theia_resize_rows
        self._rows.argtypes = (pointer, size, size, pointer, pointer, size, pointer, pointer)
        self._rows.restype = None
        self._columns = loaded.theia_resize_columns
        self._columns.argtypes = (pointer, pointer, pointer, size, pointer)
        self._columns.restype = None

    def __call__(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return (224, 224, 3) of (H, W, 3).

        Raises:
            ValueError: It is no such picture, beyond which C would read.
        """
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
            raise ValueError(f'expected a picture (H, W, 3) uint8, found {rgb.shape} {rgb.dtype}')
        rgb = np.ascontiguousarray(rgb)
        height_px, width_px = rgb.shape[:2]
        along, down = _pairs(width_px), _taps(height_px)
        # Each with room for what is read beyond the last pixel, times a weight of zero.
        row = np.empty((along.end, 3), np.int32)
        narrow = np.empty((down.end, IMAGE_PX, 3), np.uint8)
        resized = np.empty((IMAGE_PX, IMAGE_PX, 3), np.uint8)
        self._rows(
            rgb.ctypes.data,
            height_px,
            width_px,
            along.first.ctypes.data,
            along.weights.ctypes.data,
            along.weights.shape[1],
            row.ctypes.data,
            narrow.ctypes.data,
        )
        self._columns(
            narrow.ctypes.data,
            down.first.ctypes.data,
            down.weights.ctypes.data,
            down.weights.shape[1],
            resized.ctypes.data,
        )
        return resized


class _Pass(NamedTuple):
    """One pass of `resize.c`, which describes the arrays; `end` is one beyond the last read."""

    first: NDArray[np.int32]
    weights: NDArray[np.int32]
    end: int


@lru_cache(maxsize=64)
def _pairs(width_px: int) -> _Pass:
    """Return the pass along rows."""
    first, weights = filter_table(width_px)
    taps = weights.shape[1]
    pairs = (taps + 1) // 2
    spread = np.zeros((IMAGE_PX, pairs, 8), np.int32)
    padded = np.pad(weights, ((0, 0), (0, 2 * pairs - taps)))
    spread[..., :6] = padded.repeat(3, axis=1).reshape(IMAGE_PX, pairs, 6)
    # A pixel more: the last pair is read as eight numbers of which six are its own.
    return _Pass(first, spread, int(first.max()) + 2 * pairs + 1)


@lru_cache(maxsize=64)
def _taps(height_px: int) -> _Pass:
    """Return the pass along columns."""
    first, weights = filter_table(height_px)
    return _Pass(first, weights, int(first.max()) + weights.shape[1])


def filter_table(length_px: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the first old pixel of each new one, (224,), and the weights by 2**22, (224, T).

    Weights of pixels beyond the picture are 0.
    """
    scale = length_px / IMAGE_PX
    reach = max(scale, 1.0)
    centre = (np.arange(IMAGE_PX) + 0.5) * scale
    first = np.maximum((centre - reach + 0.5).astype(np.int32), 0)
    end = np.minimum((centre + reach + 0.5).astype(np.int32), length_px)
    at = first[:, None] + np.arange((end - first).max())
    distance = np.abs((at - centre[:, None] + 0.5) * (1.0 / reach))
    parts = np.where(at < end[:, None], np.maximum(1.0 - distance, 0.0), 0.0)
    total = np.zeros(IMAGE_PX)
    for column in parts.T:  # in Pillow's order, which decides the last bit
        total += column
    weights = (0.5 + parts / total[:, None] * (1 << BITS)).astype(np.int32)
    return first, weights
