"""One suite for every engine: whoever adds one adds a row to ENGINES."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import synthetic

from theia_ros.catalog import TEACHERS
from theia_ros.engine import BACKENDS
from theia_ros.engine import Engine
from theia_ros.engine import open_engine
from theia_ros.engine.choose import no_tensorrt
from theia_ros.errors import EngineError
from theia_ros.params import EncoderParams
from theia_ros.preprocess import prepare

RULE = synthetic.golden_rule
ALL = ('theia', *TEACHERS)


def lacking(precision: str) -> str:
    if not find_spec('openvino'):
        return 'openvino is not installed'
    from theia_ros.engine import openvino_engine

    return openvino_engine.lacking(precision)


CUDA = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device'),
]
OPENVINO = pytest.mark.skipif(not find_spec('openvino'), reason='openvino is not installed')
BF16_CPU = pytest.mark.skipif(bool(lacking('bf16')), reason=lacking('bf16') or 'it can')
FP16_CPU = pytest.mark.skipif(bool(lacking('fp16')), reason=lacking('fp16') or 'it can')
TENSORRT = pytest.mark.skipif(bool(no_tensorrt()), reason=no_tensorrt() or 'it is there')
# Few processors have it, and it is built as bf16 is.
FP16 = [OPENVINO, FP16_CPU, pytest.mark.slow]
ENGINES = [
    pytest.param(('fake', 'fp32', 'auto'), id='fake'),
    pytest.param(('torch', 'fp32', 'cpu'), id='torch-cpu-fp32'),
    pytest.param(('torch', 'bf16', 'cpu'), id='torch-cpu-bf16'),
    pytest.param(('openvino', 'fp32', 'cpu'), id='openvino-fp32', marks=[OPENVINO]),
    pytest.param(('openvino', 'bf16', 'cpu'), id='openvino-bf16', marks=[OPENVINO, BF16_CPU]),
    pytest.param(('openvino', 'fp16', 'cpu'), id='openvino-fp16', marks=FP16),
    pytest.param(('torch', 'fp32', 'cuda'), id='torch-cuda-fp32', marks=CUDA),
    pytest.param(('torch', 'fp16', 'cuda'), id='torch-cuda-fp16', marks=CUDA),
    pytest.param(('torch', 'bf16', 'cuda'), id='torch-cuda-bf16', marks=CUDA),
    pytest.param(('tensorrt', 'fp32', 'cuda'), id='tensorrt-fp32', marks=[*CUDA, TENSORRT]),
    pytest.param(('tensorrt', 'fp16', 'cuda'), id='tensorrt-fp16', marks=[*CUDA, TENSORRT]),
]
PIXELS = prepare([RULE.image(n) for n in ('noise_224', 'scene_480x640', 'gray_224')], 'official')
# Smallest cosine of a token to the float32 reference, by precision.
COSINE = {'fp32': 1 - 1e-6, 'fp16': 0.9999, 'bf16': 0.999}


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Its name is part of the names of its engines, which tests of this run share.
    return synthetic.write_model(tmp_path_factory.mktemp('model') / 'tiny')


@pytest.fixture(scope='module')
def reference(folder: Path) -> dict[str, torch.Tensor]:
    engine = open_engine(EncoderParams(model=str(folder), backend='torch', device='cpu'))
    return engine.infer(PIXELS, ALL)


@pytest.fixture(scope='module')
def engine(request: pytest.FixtureRequest, folder: Path) -> Iterator[Engine]:
    backend, precision, device = request.param
    params = EncoderParams(model=str(folder), backend=backend, precision=precision, device=device)
    opened = open_engine(params)
    yield opened
    opened.close()


@pytest.mark.parametrize('engine', ENGINES, indirect=True)
class TestEveryEngine:
    def test_says_what_it_is(self, engine: Engine) -> None:
        assert engine.backend in BACKENDS
        assert engine.precision in COSINE
        assert engine.device
        assert engine.max_batch >= len(PIXELS)
        assert engine.config.tensors == ALL

    def test_gives_what_is_asked_for_and_nothing_else(self, engine: Engine) -> None:
        assert set(engine.infer(PIXELS, ['clip'])) == {'clip'}
        assert engine.infer(PIXELS, []) == {}

    def test_shapes_and_types(self, engine: Engine) -> None:
        found = engine.infer(PIXELS, ALL)
        assert found['theia'].shape == (3, 197, 192)
        for name, teacher in TEACHERS.items():
            h, w = teacher.grid_hw
            assert found[name].shape == (3, h * w, teacher.channels)
        for name, tensor in found.items():
            assert tensor.dtype == torch.float32, name
            assert tensor.isfinite().all(), name

    def test_same_pixels_same_numbers(self, engine: Engine) -> None:
        first, second = (engine.infer(PIXELS, ['theia'])['theia'] for _ in range(2))
        assert torch.equal(first, second)

    def test_a_batch_equals_its_pictures(self, engine: Engine) -> None:
        batch = engine.infer(PIXELS, ['theia', 'depth_anything'])
        for i in range(len(PIXELS)):
            single = engine.infer(PIXELS[i : i + 1], ['theia', 'depth_anything'])
            for name, tensor in single.items():
                assert smallest_cosine(tensor[0], batch[name][i]) >= COSINE[engine.precision]

    def test_pixels_may_lie_where_the_engine_works(self, engine: Engine) -> None:
        there = torch.from_numpy(PIXELS).to(engine.pixels_on)
        found, expected = (engine.infer(p, ['theia'])['theia'] for p in (there, PIXELS))
        assert torch.equal(found, expected)

    def test_the_pixels_are_left_alone(self, engine: Engine) -> None:
        pixels = PIXELS.copy()
        engine.infer(pixels, ['theia'])
        np.testing.assert_array_equal(pixels, PIXELS)

    def test_agrees_with_the_reference(
        self, engine: Engine, reference: dict[str, torch.Tensor]
    ) -> None:
        if engine.backend == 'fake':
            found = engine.infer(PIXELS, ['theia'])['theia']
            assert smallest_cosine(found, reference['theia']) < 0.9  # wrong, and seen to be
            return
        for name, tensor in engine.infer(PIXELS, ALL).items():
            assert smallest_cosine(tensor.cpu(), reference[name]) >= COSINE[engine.precision], name


@pytest.mark.parametrize('params', ENGINES)
def test_closing_twice_is_harmless(params, folder: Path) -> None:
    backend, precision, device = params
    engine = open_engine(
        EncoderParams(model=str(folder), backend=backend, precision=precision, device=device)
    )
    engine.close()
    engine.close()


def test_a_closed_engine_says_so(folder: Path) -> None:
    engine = open_engine(EncoderParams(model=str(folder), backend='torch', device='cpu'))
    engine.close()
    with pytest.raises(EngineError, match='the engine is closed'):
        engine.infer(PIXELS, ['theia'])


@pytest.mark.parametrize('device', ['cuda:99', 'tpu', 'meta', ''])
def test_a_device_that_is_not_there_is_named(device: str, folder: Path) -> None:
    params = EncoderParams(model=str(folder), backend='torch', device=device)
    with pytest.raises(EngineError, match=f'device {device!r} is not there; use one of auto, cpu'):
        open_engine(params)


def test_a_failure_of_torch_is_one_line(folder: Path) -> None:
    engine = open_engine(EncoderParams(model=str(folder), backend='torch', device='cpu'))
    with pytest.raises(EngineError, match='torch failed on cpu') as caught:
        engine.infer(np.zeros((1, 224, 224, 5), np.uint8), ['theia'])
    assert '\n' not in str(caught.value)


def smallest_cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    """Of the tokens of two tensors."""
    return float(torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=-1).min())
