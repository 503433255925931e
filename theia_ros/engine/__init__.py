"""Engines: what runs the model. One table, and `open_engine` to choose from it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from functools import partial

import torch

from theia_ros import checkpoint
from theia_ros.catalog import find_model
from theia_ros.catalog import MODELS
from theia_ros.engine.base import Engine
from theia_ros.engine.base import Report
from theia_ros.engine.build import Compiler
from theia_ros.engine.build import PartsBuilder
from theia_ros.engine.choose import choose
from theia_ros.engine.choose import no_openvino
from theia_ros.engine.choose import no_tensorrt
from theia_ros.engine.fake import FakeEngine
from theia_ros.engine.parts_engine import Label
from theia_ros.engine.parts_engine import PartsEngine
from theia_ros.engine.precision import in_precision
from theia_ros.engine.source import Source
from theia_ros.engine.split import part_of
from theia_ros.engine.torch_engine import device_name
from theia_ros.engine.torch_engine import find_device
from theia_ros.engine.torch_engine import TorchEngine
from theia_ros.errors import EngineError
from theia_ros.model import ModelConfig
from theia_ros.params import EncoderParams

__all__ = ['BACKENDS', 'Engine', 'Report', 'build', 'choose', 'log_stage', 'open_engine']

_LOG = logging.getLogger(__name__)


def log_stage(stage: str) -> None:
    """Log what is being done; the report of those who ask for none."""
    _LOG.info('%s', stage)


def open_engine(params: EncoderParams, report: Report = log_stage) -> Engine:
    """Open the engine that the parameters ask for.

    Args:
        params: What to open.
        report: Is told what is being done.

    Raises:
        EngineError: The backend is unknown or not installed, there is no such device, or the
            engine cannot be built.
        ParameterError: The model is unknown.
        WeightsError: The model is missing or does not fit.
    """
    backend = choose(params).backend
    try:
        opener = BACKENDS[backend]
    except KeyError:
        known = ', '.join(BACKENDS)
        raise EngineError(f'unknown backend {backend!r}; known: auto, {known}') from None
    return opener(params, report)


def build(params: EncoderParams, tensors: Sequence[str], report: Report) -> bool:
    """Build and store engines without opening them.

    Args:
        params: What to build.
        tensors: Whose parts.
        report: Is told what is being done.

    Returns:
        Whether the backend has anything to build.

    Raises:
        EngineError: As `open_engine`, or they cannot be stored.
    """
    backend = choose(params).backend
    if backend not in COMPILERS:
        return False
    source = Source(params.model)
    PartsBuilder(COMPILERS[backend](params), source, params, report, must_store=True).open(tensors)
    return True


def _torch(params: EncoderParams, report: Report) -> Engine:
    device, source = find_device(params.device), Source(params.model)
    if device.type != 'cuda' or params.preprocessing == 'native':
        return TorchEngine(source.model, device, params.precision, params.max_batch)
    from theia_ros.engine.cuda_executor import CudaExecutor

    precision = 'fp16' if params.precision == 'auto' else params.precision
    model = in_precision(source.model, precision, stepwise_norms=True).to(device)
    runners = {name: part_of(model, name) for name in source.config.tensors}
    executor = CudaExecutor(runners, device, params.max_batch, params.cuda_graphs)
    label = Label('torch', precision, device_name(device), '')
    return PartsEngine(source.config, label, executor, params.max_batch)


def _fake(params: EncoderParams, report: Report) -> Engine:
    if known := MODELS.get(params.model):
        return FakeEngine(ModelConfig(known.student, known.teachers))
    return FakeEngine(checkpoint.read_config(find_model(params.model)))


def _compiled(backend: str, params: EncoderParams, report: Report) -> Engine:
    if params.preprocessing == 'native':
        raise EngineError(
            f'backend {backend} is built for one size of pictures; preprocessing native needs '
            'backend torch'
        )
    compiler, source = COMPILERS[backend](params), Source(params.model)
    runners, digest = PartsBuilder(compiler, source, params, report).open(source.config.tensors)
    executor = compiler.executor(runners, params)
    label = Label(backend, compiler.precision, compiler.device, digest)
    return PartsEngine(source.config, label, executor, params.max_batch)


def _openvino(params: EncoderParams) -> Compiler:
    if reason := no_openvino():
        raise EngineError(f"backend openvino: {reason}; pip install 'theia_ros[cpu]'")
    from theia_ros.engine.openvino_engine import OpenvinoCompiler

    device = torch.device('cpu') if params.device == 'auto' else find_device(params.device)
    if device.type != 'cpu':
        raise EngineError(f'backend openvino runs on the cpu; device is {device}')
    return OpenvinoCompiler(params.precision)


def _tensorrt(params: EncoderParams) -> Compiler:
    if reason := no_tensorrt():
        raise EngineError(
            f"backend tensorrt: {reason}; pip install 'theia_ros[tensorrt]' or "
            "'theia_ros[tensorrt-rtx]'"
        )
    device = find_device(params.device)
    if device.type != 'cuda':
        raise EngineError(f'backend tensorrt runs on CUDA; device is {device}')
    from theia_ros.engine.tensorrt_engine import TensorrtCompiler

    return TensorrtCompiler(device, params.precision)


BACKENDS: Mapping[str, Callable[[EncoderParams, Report], Engine]] = {
    'tensorrt': partial(_compiled, 'tensorrt'),
    'torch': _torch,
    'openvino': partial(_compiled, 'openvino'),
    'fake': _fake,
}
COMPILERS: Mapping[str, Callable[[EncoderParams], Compiler]] = {
    'tensorrt': _tensorrt,
    'openvino': _openvino,
}
