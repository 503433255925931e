"""What the eager float32 model gives for built-in pictures: what engines are compared with."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load
from safetensors.torch import save
from torch import Tensor

from theia_ros.catalog import IMAGE_PX
from theia_ros.engine import machine
from theia_ros.engine.base import Report
from theia_ros.engine.cache import EngineCache
from theia_ros.engine.cache import folder_of
from theia_ros.engine.engine_file import EngineKey
from theia_ros.engine.source import Source
from theia_ros.errors import EngineError
from theia_ros.model import CODE_VERSION
from theia_ros.params import EncoderParams


def pictures() -> NDArray[np.uint8]:
    """Return the built-in pictures: a gradient, noise, and a scene with edges.

    Returns:
        (3, 224, 224, 3), the same on every machine.
    """
    y, x = np.mgrid[:IMAGE_PX, :IMAGE_PX].astype(np.int64)
    gradient = np.stack([y, x, (x + y) // 2], axis=-1) * 255 // (IMAGE_PX - 1)
    # Numbered, and mixed as in splitmix64: noise without a library's generator.
    z = np.arange(IMAGE_PX * IMAGE_PX * 3, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    noise = (z >> np.uint64(56)).astype(np.int64).reshape(gradient.shape)
    scene = np.stack([90 + y // 4, 110 + y // 8, 140 - y // 4], axis=-1)
    scene[140:] = (120, 100, 80)
    scene[80:170, 30:90] = (200, 40, 40)
    scene[(x - 150) ** 2 + (y - 120) ** 2 < 40**2] = (30, 90, 200)
    scene[(x // 8 + y // 8) % 2 * (y > 180) > 0] = 240
    return np.stack([gradient, noise, scene]).clip(0, 255).astype(np.uint8)


def reference(source: Source, params: EncoderParams, report: Report) -> dict[str, Tensor]:
    """Return what the eager float32 model gives for the built-in pictures.

    It is kept beside the engines, so that a stored engine opens without reading the weights.

    Raises:
        WeightsError: The model is missing or does not fit.
    """
    pixels = pictures()
    key = EngineKey(
        model=source.name,
        config=source.shape,
        weights_sha256=source.weights_sha256,
        code=CODE_VERSION,
        part='reference',
        image_hw=(IMAGE_PX, IMAGE_PX),
        max_batch=len(pixels),
        backend='torch',
        precision='fp32',
        settings=hashlib.sha256(pixels.tobytes()).hexdigest(),
        device=machine.cpu_name(),
        features=machine.cpu_features(),
        driver='',
        cuda='',
        torch=torch.__version__,
        compiler='',
        runtime='',
    )

    def build() -> bytes:
        with torch.inference_mode():
            batch = torch.from_numpy(pixels)
            found = source.model(batch, source.config.tensors)
        payload: bytes = save({name: tensor.contiguous() for name, tensor in found.items()})
        return payload

    return EngineCache(folder_of(params), report).obtain(key, build, _read)


def _read(payload: bytes) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load(payload)
    except SafetensorError as exc:
        raise EngineError(str(exc)) from exc
    return tensors
