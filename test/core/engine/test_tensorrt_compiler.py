"""The compiler with a stand-in for Torch-TensorRT, which needs a GPU to be imported."""

from __future__ import annotations

import importlib
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from theia_ros.errors import EngineError

NAME = 'theia_ros.engine.tensorrt_engine'


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch):
    """Return a function that makes a compiler of this version, whose conversion does this."""

    def make(version: str, precision: str, convert=None):
        dynamo = SimpleNamespace(convert_exported_program_to_serialized_trt_engine=convert)
        stand_in = SimpleNamespace(__version__=version, dynamo=dynamo, Input=SimpleNamespace)
        monkeypatch.setitem(sys.modules, 'torch_tensorrt', stand_in)
        monkeypatch.setitem(sys.modules, 'tensorrt', SimpleNamespace(__version__='10.3.0'))
        monkeypatch.delitem(sys.modules, NAME, raising=False)
        monkeypatch.setattr(torch.cuda, 'device', lambda device: nullcontext())
        module = importlib.import_module(NAME)
        monkeypatch.setattr(module, 'device_name', str)
        return module.TensorrtCompiler(torch.device('cuda:0'), precision)

    yield make
    sys.modules.pop(NAME, None)


PROGRAM = SimpleNamespace(example_inputs=((torch.zeros(2, 224, 224, 3, dtype=torch.uint8),), {}))


def test_a_conversion_that_fails_without_a_word_is_named(compiler) -> None:
    """As that of 2.5 does: it logs the error, and then uses a result that it does not have."""

    def convert(program, *, arg_inputs, **settings):
        raise UnboundLocalError('result')

    with pytest.raises(EngineError, match=r'^Torch-TensorRT 2\.5\.0 cannot convert the model'):
        compiler('2.5.0', 'fp16', convert).build(PROGRAM, 4)


def test_the_batch_and_the_settings_of_the_version_are_given(compiler) -> None:
    given = {}

    def convert(program, *, arg_inputs, **settings):
        given.update(settings, input=arg_inputs[0])
        return b'an engine'

    assert compiler('2.5.0', 'fp16', convert).build(PROGRAM, 4) == b'an engine'
    shape = given.pop('input')
    assert (shape.min_shape, shape.max_shape) == ((1, 224, 224, 3), (4, 224, 224, 3))
    assert shape.dtype == torch.uint8
    assert given['enabled_precisions'] == {torch.float32, torch.float16}
    assert 'use_explicit_typing' not in given


@pytest.mark.parametrize(
    ('version', 'precision', 'said'),
    [
        ('2.4.0', 'fp16', r'Torch-TensorRT 2\.4\.0 is too old; use 2\.5 or newer'),
        ('2.7.0', 'bf16', r'converts no casts to bfloat16; use precision fp16, or version 2\.8'),
    ],
)
def test_a_version_that_is_too_old(version: str, precision: str, said: str, compiler) -> None:
    with pytest.raises(EngineError, match=said):
        compiler(version, precision)
