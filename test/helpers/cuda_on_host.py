"""A host that passes for a CUDA device: work is recorded as graphs, and replayed.

As on a device, a replay reads and writes the memory of the recording, and what is not known before
the device has computed it cannot be asked for while work is recorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

HOST = torch.device('cpu')


class Graph(TorchDispatchMode):
    """Operations, in their order, and what they gave when they were recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []
        self.replays = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError('operation not permitted when stream is capturing')
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        self.replays += 1
        for func, args, kwargs, recorded in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(recorded), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def pretend(monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    """Let the host pass for a CUDA device, and return the graphs that will be recorded."""
    made: list[Graph] = []
    stream = SimpleNamespace(device=HOST, synchronize=lambda: None, wait_stream=lambda other: None)

    @contextmanager
    def recording(graph: Graph, pool: Any, stream: Any, capture_error_mode: str) -> Iterator[None]:
        made.append(graph)
        with graph:
            yield

    empty = torch.empty

    def unpinned(*args: Any, pin_memory: bool = False, **kwargs: Any) -> torch.Tensor:
        return empty(*args, **kwargs)

    monkeypatch.setattr(torch, 'empty', unpinned)
    monkeypatch.setattr(torch.Tensor, 'record_stream', lambda self, stream: None)
    for name, stand_in in {
        'CUDAGraph': Graph,
        'Stream': lambda device: stream,
        'current_stream': lambda device: stream,
        'default_stream': lambda device: stream,
        'device': lambda device: nullcontext(),
        'graph': recording,
        'graph_pool_handle': lambda: (0, 1),
        'stream': lambda stream: nullcontext(),
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    return made
