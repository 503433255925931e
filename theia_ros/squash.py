"""The published resize on a GPU: the same bytes as `resize.py`, which says how they are made."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from functools import partial
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from theia_ros.catalog import IMAGE_PX
from theia_ros.cuda_graphs import record
from theia_ros.errors import EngineError
from theia_ros.errors import first_line
from theia_ros.preprocess import prepare
from theia_ros.resize import BITS
from theia_ros.resize import fastest
from theia_ros.resize import filter_table
from theia_ros.resize import trials

_MOST_PRODUCTS = 1 << 25
"""That are in memory at once, 5 bytes each."""
_MOST_RECORDED = 1 << 23
"""Numbers of a batch that is worth a graph; a larger one takes longer than it takes to launch."""

Prepare = Callable[[Sequence[NDArray[np.uint8]]], NDArray[np.uint8] | Tensor]
"""Makes a batch of model input, (B, H, W, 3), from pictures (H, W, 3)."""


def preparation(preset: str, device: torch.device, graphs: bool) -> tuple[Prepare, str]:
    """Return what prepares pictures for an engine, and what people should know of it.

    It works on the device where that gives the same bytes as the host, which is tried here.

    Args:
        preset: Key of `PRESETS`.
        device: Where the engine takes its pixels from.
        graphs: See `Squash`.
    """
    on_host = partial(prepare, preset=preset)
    if preset != 'official':
        return on_host, ''
    if device.type == 'cpu':
        return on_host, fastest()[1]
    squash = Squash(device, graphs)
    try:
        for picture in trials():
            expected = on_host([picture])
            for _ in range(1 + graphs):  # as it is, and as it was recorded
                if not np.array_equal(squash([picture]).cpu().numpy(), expected):
                    return on_host, f'pictures are resized on the host: {device} gives other bytes'
    except EngineError as exc:
        return on_host, f'pictures are resized on the host: {exc}'
    return squash, ''


_Tables = Mapping[int, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class _Recorded:
    """Resizing pictures of one shape as a graph, and the memory that it works on."""

    graph: torch.cuda.CUDAGraph
    pixels: Tensor
    tables: _Tables
    result: Tensor

    def replay(self, staged: Tensor) -> Tensor:
        """Resize; the result is copied, since the next replay writes to the same memory."""
        self.pixels.copy_(staged)
        self.graph.replay()
        return self.result.clone()


class Squash:
    """Make a batch of model input on a device; equals the preset `official`.

    Not for several threads at once.
    """

    def __init__(self, device: torch.device, graphs: bool) -> None:
        """Prepare for pictures of any size.

        Args:
            device: Where the model input shall be.
            graphs: Record the work for a shape that comes again as a CUDA graph, and replay it
                from then on. Resizing one picture is a dozen kernels of microseconds each, which
                take far longer to launch than to run.
        """
        self._device = device
        self._staging = torch.empty(0, dtype=torch.uint8)
        self._tables = lru_cache(maxsize=64)(self._table)
        self._graphs = graphs
        self._seen: set[tuple[int, ...]] = set()
        self._recorded = lru_cache(maxsize=16)(self._record)
        if graphs:
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Return (B, 224, 224, 3) uint8 on the device, finished, of (H, W, 3) uint8 each.

        Pictures of one size that follow each other are resized in one go.

        Raises:
            EngineError: The device cannot, for want of memory for instance.
        """
        try:
            with torch.inference_mode():
                runs = [
                    self._resized(list(of_one_size))
                    for _, of_one_size in groupby(pictures, lambda picture: picture.shape)
                ]
                batch = torch.cat(runs) if len(runs) > 1 else runs[0]
                if self._device.type == 'cuda':
                    torch.cuda.current_stream(self._device).synchronize()
                return batch
        except RuntimeError as exc:  # torch's word for everything, out of memory included
            raise EngineError(f'{self._device} cannot resize pictures: {first_line(exc)}') from exc

    def _resized(self, pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Return (B, 224, 224, 3) of pictures of one size."""
        shape = (len(pictures), *pictures[0].shape)
        staged = self._staged(shape)
        for place, picture in zip(staged.numpy(), pictures, strict=True):
            np.copyto(place, picture)
        # Either waits for the copy: the next pictures are staged in the same memory.
        if self._comes_again(shape):
            return self._recorded(shape).replay(staged)
        return _squash(staged.to(self._device, copy=True), self._tables_for(shape))

    def _comes_again(self, shape: tuple[int, ...]) -> bool:
        """Tell whether a shape came before, and is worth a graph."""
        nothing_to_do = not self._tables_for(shape)
        if not self._graphs or nothing_to_do or math.prod(shape) > _MOST_RECORDED:
            return False
        again = shape in self._seen
        self._seen.add(shape)
        return again

    def _record(self, shape: tuple[int, ...]) -> _Recorded:
        pixels = torch.zeros(shape, dtype=torch.uint8, device=self._device)
        tables = self._tables_for(shape)
        graph, result = record(lambda: _squash(pixels, tables), self._stream, self._pool)
        return _Recorded(graph, pixels, tables, result)

    def _tables_for(self, shape: tuple[int, ...]) -> _Tables:
        """Return the passes that pictures of a shape need: the axis and its table."""
        return {axis: self._tables(shape[axis]) for axis in (2, 1) if shape[axis] != IMAGE_PX}

    def _staged(self, shape: tuple[int, ...]) -> Tensor:
        """Return memory of the host from which the device can fetch by itself."""
        size = int(np.prod(shape))
        if size > len(self._staging):
            pinned = self._device.type == 'cuda'
            self._staging = torch.empty(size, dtype=torch.uint8, pin_memory=pinned)
        return self._staging[:size].view(shape)

    def _table(self, length_px: int) -> tuple[Tensor, Tensor]:
        """Return which old pixels make each new one, and their weights, (224, T) both."""
        first, weights = filter_table(length_px)
        at = np.minimum(first[:, None] + np.arange(weights.shape[1]), length_px - 1)
        return torch.from_numpy(at).to(self._device), torch.from_numpy(weights).to(self._device)


def _squash(x: Tensor, tables: _Tables) -> Tensor:
    """Return pictures (B, 224, 224, 3) of (B, H, W, 3)."""
    for axis, (at, weights) in tables.items():
        x = _one_pass(x, axis, at, weights)
    return x


def _one_pass(x: Tensor, axis: int, at: Tensor, weights: Tensor) -> Tensor:
    """Return pictures (B, H, W, 3) with 224 pixels along their rows (axis 2) or columns (1)."""
    weights = weights.view(*weights.shape, *(1,) * (3 - axis))
    of_one_tap = x.numel() // x.shape[axis] * IMAGE_PX
    taps = max(1, _MOST_PRODUCTS // of_one_tap)
    sums: Tensor | None = None
    for i in range(0, at.shape[1], taps):
        wanted = at[:, i : i + taps]
        taken = x.index_select(axis, wanted.flatten())
        taken = taken.view(*x.shape[:axis], *wanted.shape, *x.shape[axis + 1 :])
        part = (taken * weights[:, i : i + taps]).sum(axis + 1, dtype=torch.int32)
        sums = part if sums is None else sums.add_(part)
    assert sums is not None
    # At most 255: weights are positive, and their errors of half of 2**-22 do not add up to it.
    return sums.add_(1 << (BITS - 1)).bitwise_right_shift_(BITS).to(torch.uint8)
