"""CUDA graphs: work that is recorded once and from then on launched as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_WARM_UP_PASSES = 3


def record(
    work: Callable[[], Tensor], stream: torch.cuda.Stream, pool: Any
) -> tuple[torch.cuda.CUDAGraph, Tensor]:
    """Do some work, then record it.

    Args:
        work: Must read the same memory in every call, and ask the device for nothing.
        stream: Where it is recorded; nothing else may use it meanwhile.
        pool: Handle of the memory that the graph works in. Graphs may share it if they never run
            at the same time.

    Returns:
        The graph, and where each replay of it puts the result; another graph of the pool may
        write there.
    """
    stream.wait_stream(torch.cuda.current_stream(stream.device))
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP_PASSES):  # libraries allocate and choose on first use
            work()
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode='thread_local'):
        result = work()
    return graph, result
