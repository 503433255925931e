"""Engines: what runs the model. One table, and `open_engine` to choose from it."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping

from theia_ros import checkpoint
from theia_ros.catalog import find_model
from theia_ros.catalog import MODELS
from theia_ros.engine.base import Engine
from theia_ros.engine.fake import FakeEngine
from theia_ros.engine.torch_engine import TorchEngine
from theia_ros.errors import EngineError
from theia_ros.model import ModelConfig
from theia_ros.params import EncoderParams

__all__ = ['BACKENDS', 'Engine', 'open_engine']


def _torch(params: EncoderParams) -> Engine:
    model = checkpoint.load(find_model(params.model))
    return TorchEngine(model, params.device, params.precision)


def _fake(params: EncoderParams) -> Engine:
    if known := MODELS.get(params.model):
        return FakeEngine(ModelConfig(known.student, known.teachers))
    return FakeEngine(checkpoint.read_config(find_model(params.model)))


BACKENDS: Mapping[str, Callable[[EncoderParams], Engine]] = {'torch': _torch, 'fake': _fake}


def open_engine(params: EncoderParams) -> Engine:
    """Open the engine that the parameters ask for.

    Raises:
        EngineError: The backend is unknown, or there is no such device.
        ParameterError: The model is unknown.
        WeightsError: The model is missing or does not fit.
    """
    backend = 'torch' if params.backend == 'auto' else params.backend
    try:
        opener = BACKENDS[backend]
    except KeyError:
        known = ', '.join(BACKENDS)
        raise EngineError(f'unknown backend {backend!r}; known: auto, {known}') from None
    return opener(params)
