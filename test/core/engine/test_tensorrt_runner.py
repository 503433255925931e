"""How TensorRT's runtime is used, with a stand-in that computes on the host."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import pytest
import torch

from theia_ros.engine.tensorrt_runner import TensorrtRunner
from theia_ros.errors import EngineError

TRT = SimpleNamespace(TensorIOMode=SimpleNamespace(INPUT='in', OUTPUT='out'))
CPU = torch.device('cpu')


class Context:
    """Doubles what stands at one address, to another."""

    def __init__(self, most: int) -> None:
        self.most, self.shape, self.address = most, (0, 0), {}
        self.streams: list[int] = []
        self.works = True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == 'tokens'
        self.shape = shape
        return shape[0] <= self.most

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        assert name == 'output0'
        return self.shape

    def set_tensor_address(self, name: str, address: int) -> None:
        self.address[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        self.streams.append(stream)
        if not self.works:
            return False
        count = self.shape[0] * self.shape[1]
        given = (ctypes.c_float * count).from_address(self.address['tokens'])
        result = (ctypes.c_float * count).from_address(self.address['output0'])
        for i in range(count):
            result[i] = 2 * given[i]
        return True


class Engine:
    """Has one input and one output, the output first."""

    num_io_tensors = 2

    def __init__(self, context: Context | None) -> None:
        self.context = context

    def get_tensor_name(self, i: int) -> str:
        return ('output0', 'tokens')[i]

    def get_tensor_mode(self, name: str) -> str:
        return {'output0': 'out', 'tokens': 'in'}[name]

    def create_execution_context(self) -> Context | None:
        return self.context


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Context:
    stream = SimpleNamespace(cuda_stream=17)
    monkeypatch.setattr(torch.cuda, 'current_stream', lambda device: stream)
    return Context(most=4)


def test_runs_on_the_current_stream_on_memory_of_torch(context: Context) -> None:
    runner = TensorrtRunner(TRT, Engine(context), CPU)
    first, second = torch.arange(6.0).reshape(2, 3), torch.ones(1, 3)
    results = [runner(first), runner(second)]
    assert torch.equal(results[0], 2 * first)  # and not what the second call made
    assert torch.equal(results[1], 2 * second)
    assert context.streams == [17, 17]


def test_a_batch_that_is_too_large_is_refused(context: Context) -> None:
    runner = TensorrtRunner(TRT, Engine(context), CPU)
    with pytest.raises(EngineError, match=r'the TensorRT engine was not built for \(5, 3\)'):
        runner(torch.ones(5, 3))


def test_a_failure_is_an_error(context: Context) -> None:
    runner = TensorrtRunner(TRT, Engine(context), CPU)
    context.works = False
    with pytest.raises(EngineError, match='TensorRT could not run the engine'):
        runner(torch.ones(1, 3))


def test_without_memory_there_is_no_context() -> None:
    with pytest.raises(EngineError, match='TensorRT has no memory left on cpu'):
        TensorrtRunner(TRT, Engine(None), CPU)
