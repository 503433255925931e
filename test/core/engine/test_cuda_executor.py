"""How work is recorded and replayed, on a host that passes for a CUDA device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.cuda_on_host import Graph
from helpers.cuda_on_host import HOST

from theia_ros.checkpoint import load
from theia_ros.engine.cuda_executor import CudaExecutor
from theia_ros.engine.parts_engine import HostExecutor
from theia_ros.engine.parts_engine import Runner
from theia_ros.engine.precision import in_precision
from theia_ros.engine.split import part_of

ALL = ('theia', 'clip', 'depth_anything')


@pytest.fixture(scope='module')
def runners(tiny_folder: Path) -> dict[str, Runner]:
    model = in_precision(load(tiny_folder), 'fp32', stepwise_norms=True)
    return {name: part_of(model, name) for name in ALL}


def pixels(batch: int, seed: int = 0) -> torch.Tensor:
    noise = np.random.default_rng(seed).integers(0, 256, (batch, 224, 224, 3), np.uint8)
    return torch.from_numpy(noise)


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-5, msg=name)


@pytest.mark.parametrize('record', [True, False], ids=['recorded', 'as-it-is'])
def test_gives_what_the_host_gives(record: bool, runners, graphs: list[Graph]) -> None:
    executor, host = CudaExecutor(runners, HOST, 2, record), HostExecutor(runners)
    for batch, seed, teachers in [(1, 0, ALL[1:]), (2, 1, ()), (1, 2, ALL[2:]), (2, 3, ALL[1:])]:
        given = pixels(batch, seed)
        assert_same(executor(given, teachers), host(given, teachers))
    assert len(graphs) == (2 * len(ALL) if record else 0)


def test_each_size_is_recorded_once_and_only_what_is_asked_for_is_run(
    runners, graphs: list[Graph]
) -> None:
    executor = CudaExecutor(runners, HOST, 2, graphs=True)
    executor(pixels(1), ())
    before = [graph.replays for graph in graphs]
    assert len(before) == len(ALL)
    executor(pixels(1), ())
    executor(pixels(1), ('clip',))
    assert [graph.replays - b for graph, b in zip(graphs, before, strict=True)] == [2, 1, 0]


def test_results_outlive_the_next_pictures(runners, graphs: list[Graph]) -> None:
    executor = CudaExecutor(runners, HOST, 1, graphs=True)
    first = executor(pixels(1), ALL[1:])
    before = {name: tensor.clone() for name, tensor in first.items()}
    executor(pixels(1, 1), ALL[1:])
    for name, tensor in before.items():
        assert torch.equal(first[name], tensor), name


def test_pixels_are_not_read_after_the_call(runners, graphs: list[Graph]) -> None:
    executor = CudaExecutor(runners, HOST, 1, graphs=True)
    given = pixels(1)
    found = executor(given, ())['theia'].clone()
    given.zero_()
    assert torch.equal(executor(pixels(1), ())['theia'], found)
