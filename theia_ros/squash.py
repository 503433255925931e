"""The published resize on a GPU: what Pillow's bilinear filter gives, byte for byte.

Pillow resizes in two passes, first along rows and then along columns, and rounds to bytes after
each. A new pixel is a sum of old ones by weights that are whole multiples of 2**-22, so all of it
fits into 32-bit integers, and every device that can add gives the same bytes. The filter is a
triangle as wide as a new pixel, or as an old one where the picture grows (`Resample.c` in Pillow).
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from functools import lru_cache
from functools import partial
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from theia_ros.catalog import IMAGE_PX
from theia_ros.preprocess import prepare

_BITS = 22
"""Of a weight of one; with 8 bits of a pixel, 30 of 32."""
_TRIED = (480, 640), (97, 301), (100, 80)


Prepare = Callable[[Sequence[NDArray[np.uint8]]], NDArray[np.uint8] | Tensor]
"""Makes a batch of model input, (B, H, W, 3), from pictures (H, W, 3)."""


def preparation(preset: str, device: torch.device) -> tuple[Prepare, str]:
    """Return what prepares pictures for an engine, and what people should know of it.

    It works on the device where that gives the same bytes as the host, which is tried here.

    Args:
        preset: Key of `PRESETS`.
        device: Where the engine takes its pixels from.
    """
    on_host = partial(prepare, preset=preset)
    if device.type == 'cpu' or preset != 'official':
        return on_host, ''
    squash = Squash(device)
    rng = np.random.default_rng(0)
    for size in _TRIED:
        picture = rng.integers(0, 256, (*size, 3), np.uint8)
        if not np.array_equal(squash([picture]).cpu().numpy(), on_host([picture])):
            note = f'pictures are resized on the host: {device} gives other bytes'
            return on_host, note
    return squash, ''


class Squash:
    """Make a batch of model input on a device; equals the preset `official`.

    Not for several threads at once.
    """

    def __init__(self, device: torch.device) -> None:
        """Prepare for pictures of any size.

        Args:
            device: Where the model input shall be.
        """
        self._device = device
        self._staging = torch.empty(0, dtype=torch.uint8)
        self._tables = lru_cache(maxsize=64)(self._table)

    def __call__(self, pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Return (B, 224, 224, 3) uint8 on the device, finished, of (H, W, 3) uint8 each.

        Pictures of one size that follow each other are resized in one go.
        """
        with torch.inference_mode():
            runs = [
                self._resized(list(of_one_size))
                for _, of_one_size in groupby(pictures, lambda picture: picture.shape)
            ]
            batch = torch.cat(runs) if len(runs) > 1 else runs[0]
        if self._device.type == 'cuda':
            torch.cuda.current_stream(self._device).synchronize()
        return batch

    def _resized(self, pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Return (B, 224, 224, 3) of pictures of one size."""
        height_px, width_px, channels = pictures[0].shape
        staged = self._staged((len(pictures), height_px, width_px, channels))
        for place, picture in zip(staged.numpy(), pictures, strict=True):
            np.copyto(place, picture)
        x = staged.to(self._device)  # and wait: the next pictures are staged in the same memory
        if width_px != IMAGE_PX:
            at, weights = self._tables(width_px)
            x = _rounded((x[:, :, at] * weights[..., None]).sum(3, dtype=torch.int32))
        if height_px != IMAGE_PX:
            at, weights = self._tables(height_px)
            x = _rounded((x[:, at] * weights[..., None, None]).sum(2, dtype=torch.int32))
        return x

    def _staged(self, shape: tuple[int, ...]) -> Tensor:
        """Return memory of the host from which the device can fetch by itself."""
        size = int(np.prod(shape))
        if size > len(self._staging):
            pinned = self._device.type == 'cuda'
            self._staging = torch.empty(size, dtype=torch.uint8, pin_memory=pinned)
        return self._staging[:size].view(shape)

    def _table(self, length_px: int) -> tuple[Tensor, Tensor]:
        at, weights = table(length_px)
        return torch.from_numpy(at).to(self._device), torch.from_numpy(weights).to(self._device)


def table(length_px: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return which old pixels make each new one, and their weights by 2**22, (224, T) both."""
    scale = length_px / IMAGE_PX
    reach = max(scale, 1.0)
    centre = (np.arange(IMAGE_PX) + 0.5) * scale
    first = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    end = np.minimum((centre + reach + 0.5).astype(np.int64), length_px)
    at = first[:, None] + np.arange((end - first).max())
    distance = np.abs((at - centre[:, None] + 0.5) * (1.0 / reach))
    parts = np.where(at < end[:, None], np.maximum(1.0 - distance, 0.0), 0.0)
    total = np.zeros(IMAGE_PX)
    for column in parts.T:  # in Pillow's order, which decides the last bit
        total += column
    weights = (0.5 + parts / total[:, None] * (1 << _BITS)).astype(np.int32)
    return np.minimum(at, length_px - 1), weights


def _rounded(sums: Tensor) -> Tensor:
    # At most 255: weights are positive, and their errors of half of 2**-22 do not add up to it.
    return sums.add_(1 << (_BITS - 1)).bitwise_right_shift_(_BITS).to(torch.uint8)
