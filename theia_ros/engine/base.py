"""What every engine is: pixels in, tensors out."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from theia_ros.model import ModelConfig

Pixels = NDArray[np.uint8] | Tensor
"""uint8, on the host or on a device."""

Report = Callable[[str], None]
"""Is told, in a few words, what is being done; opening an engine may take minutes."""


class Engine(Protocol):
    """Run the model on batches of prepared pixels.

    Attributes:
        config: Shape of the model.
        backend: Key of `engine.BACKENDS`.
        precision: Arithmetic really used: `fp32`, `fp16` or `bf16`.
        device: What it runs on, for people.
        fingerprint: Of the built engine; empty when nothing was built.
        max_batch: Most pictures of one call.
        pixels_on: Where it would like its pixels to be; those on the host it takes too.
    """

    config: ModelConfig
    backend: str
    precision: str
    device: str
    fingerprint: str
    max_batch: int
    pixels_on: torch.device

    def infer(self, pixels: Pixels, tensors: Collection[str]) -> dict[str, Tensor]:
        """Return the tensors that are asked for, and no others.

        Args:
            pixels: (B, H, W, 3), red first, as `preprocess.prepare` makes them, or `Squash` on
                the device that `pixels_on` names.
            tensors: Of `config.tensors`.

        Returns:
            float32, on the engine's device, finished: `theia` as (B, 1 + N, C) with CLS first, a
            teacher's tensor as (B, N, C). They are the caller's: no later call changes them.

        Raises:
            EngineError: The computation failed, or the batch is too large.
        """

    def close(self) -> None:
        """Give back the device's memory; closing twice is harmless."""
