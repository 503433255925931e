"""The engine that runs compiled parts: the backbone once, then the heads that are asked for."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from theia_ros.catalog import BACKBONE
from theia_ros.catalog import IMAGE_PX
from theia_ros.engine.base import Pixels
from theia_ros.errors import EngineError
from theia_ros.errors import first_line
from theia_ros.model import ModelConfig


class Runner(Protocol):
    """A part that is ready to run."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return what the part makes of a batch, float32, on the same device as `x`."""


class Executor(Protocol):
    """Runs parts one after the other.

    Attributes:
        pixels_on: Where it would like its pixels to be; those on the host it takes too.
    """

    pixels_on: torch.device

    def __call__(self, pixels: Tensor, teachers: Sequence[str]) -> dict[str, Tensor]:
        """Run the backbone and some heads.

        Args:
            pixels: (B, 224, 224, 3) uint8, on the host or where `pixels_on` says.
            teachers: Whose heads to run.

        Returns:
            The backbone's tokens and each head's, finished, in memory that no later call uses.
        """


@dataclass(frozen=True)
class Label:
    """What an engine says of itself; see `Engine`."""

    backend: str
    precision: str
    device: str
    fingerprint: str


class PartsEngine:
    """Run a model whose parts were compiled one by one."""

    def __init__(
        self, config: ModelConfig, label: Label, executor: Executor, max_batch: int
    ) -> None:
        """Take over parts that are ready to run.

        Args:
            config: Shape of the model.
            label: What the engine is.
            executor: Runs the parts.
            max_batch: Most pictures of one call.
        """
        self.config = config
        self.backend, self.precision = label.backend, label.precision
        self.device, self.fingerprint = label.device, label.fingerprint
        self.max_batch = max_batch
        self.pixels_on = executor.pixels_on
        self._executor: Executor | None = executor

    def infer(self, pixels: Pixels, tensors: Collection[str]) -> dict[str, Tensor]:
        """Return the tensors that are asked for; see `Engine.infer`."""
        if self._executor is None:
            raise EngineError('the engine is closed; open it again')
        if isinstance(pixels, np.ndarray):
            # Compilers' runtimes take addresses, and torch wants to be allowed to write there.
            pixels = torch.from_numpy(np.require(pixels, requirements=['C', 'W']))
        if pixels.shape[1:] != (IMAGE_PX, IMAGE_PX, 3) or pixels.dtype != torch.uint8:
            raise EngineError(
                f'the {self.backend} engine takes (B, {IMAGE_PX}, {IMAGE_PX}, 3) uint8, found '
                f'{tuple(pixels.shape)} {str(pixels.dtype).removeprefix("torch.")}'
            )
        check_batch(len(pixels), self.max_batch)
        if not tensors:
            return {}
        teachers = [name for name in self.config.teachers if name in tensors]
        try:
            with torch.inference_mode():
                found = self._executor(pixels, teachers)
        except RuntimeError as exc:
            raise EngineError(
                f'{self.backend} failed on {self.device}: {first_line(exc)}'
            ) from exc
        return {name: tensor for name, tensor in found.items() if name in tensors}

    def close(self) -> None:
        """Drop the parts."""
        self._executor = None


class HostExecutor:
    """Run parts one after the other on the host."""

    pixels_on = torch.device('cpu')

    def __init__(self, runners: Mapping[str, Runner]) -> None:
        """Take over parts, by tensor name."""
        self._runners = runners

    def __call__(self, pixels: Tensor, teachers: Sequence[str]) -> dict[str, Tensor]:
        """Run the backbone and some heads; see `Executor`."""
        found = {BACKBONE: self._runners[BACKBONE](pixels)}
        for name in teachers:
            found[name] = self._runners[name](found[BACKBONE])
        return found


def check_batch(pictures: int, max_batch: int) -> None:
    """Refuse a batch of a size that an engine was not made for.

    Raises:
        EngineError: It is.
    """
    if not 1 <= pictures <= max_batch:
        raise EngineError(
            f'a batch of {pictures} pictures; the engine takes 1 to {max_batch}, see parameter '
            'max_batch'
        )
