"""Run parts on a CUDA device: pinned input, one stream, and graphs that are recorded once."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from theia_ros.catalog import BACKBONE
from theia_ros.catalog import IMAGE_PX
from theia_ros.cuda_graphs import record
from theia_ros.engine.parts_engine import Runner


class CudaExecutor:
    """Run parts one after the other on a device, on a stream of its own.

    With graphs, all work of a batch size is recorded when that size first comes, one graph for
    each part, and replayed from then on without the cost of launching each kernel.
    """

    def __init__(
        self, runners: Mapping[str, Runner], device: torch.device, max_batch: int, graphs: bool
    ) -> None:
        """Take over parts.

        Args:
            runners: By tensor, `theia` first; each works on the current stream.
            device: Where they run.
            max_batch: Most pictures of one call.
            graphs: Record and replay.
        """
        self._runners, self._device, self._graphs = runners, device, graphs
        self.pixels_on = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        shape = (max_batch, IMAGE_PX, IMAGE_PX, 3)
        self._staging = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        self._recorded: dict[int, _Recorded] = {}
        # Shared: parts run one after the other, always in the order of their recording.
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, pixels: Tensor, teachers: Sequence[str]) -> dict[str, Tensor]:
        """Run the backbone and some heads; see `Executor`."""
        batch = len(pixels)
        staged = pixels
        if pixels.device.type == 'cpu':
            staged = self._staging[:batch]
            staged.copy_(pixels)
        # What torch calls fp32 shall be it, also in convolutions.
        exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream), exact:
            if self._graphs:
                if batch not in self._recorded:
                    self._recorded[batch] = self._record(batch)
                found = self._recorded[batch].replay(staged, teachers)
            else:
                found = {BACKBONE: self._runners[BACKBONE](staged.to(self._device))}
                for name in teachers:
                    found[name] = self._runners[name](found[BACKBONE])
            self._stream.synchronize()
        for tensor in found.values():
            # The caller goes on with it on the default stream.
            tensor.record_stream(torch.cuda.default_stream(self._device))
        return found

    def _record(self, batch: int) -> _Recorded:
        """Record every part for batches of one size."""
        pixels = torch.zeros_like(self._staging[:batch], device=self._device)
        outputs: dict[str, Tensor] = {}
        graphs: dict[str, torch.cuda.CUDAGraph] = {}
        for name, runner in self._runners.items():
            given = pixels if name == BACKBONE else outputs[BACKBONE]
            work = partial(runner, given)
            graphs[name], outputs[name] = record(work, self._stream, self._pool)
            # The backbone's output is the heads' input when they warm up.
            graphs[name].replay()
        return _Recorded(pixels, outputs, graphs)


@dataclass(frozen=True)
class _Recorded:
    """Graphs of one batch size, and the memory that they read and write."""

    pixels: Tensor
    outputs: Mapping[str, Tensor]
    graphs: Mapping[str, torch.cuda.CUDAGraph]

    def replay(self, staged: Tensor, teachers: Sequence[str]) -> dict[str, Tensor]:
        """Run; the results are copied, since the next replay writes to the same memory."""
        self.pixels.copy_(staged, non_blocking=True)
        self.graphs[BACKBONE].replay()
        for name in self.graphs:
            if name in teachers:
                self.graphs[name].replay()
        return {name: self.outputs[name].clone() for name in (BACKBONE, *teachers)}
