"""The baseline: the published way from pictures to features, eager and in float32."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from theia_ros import checkpoint
from theia_ros.catalog import BACKBONE
from theia_ros.catalog import find_model
from theia_ros.catalog import IMAGE_PX
from theia_ros.datatypes import Frame
from theia_ros.engine.torch_engine import find_device
from theia_ros.errors import EngineError
from theia_ros.errors import first_line
from theia_ros.model import GRID
from theia_ros.params import EncoderParams
from theia_ros.timing import Stopwatch

BASELINE = 'baseline'
DESCRIPTION = (
    'as the published code: Pillow resize of each frame, floats normalised in numpy, '
    'eager float32 model, patch tokens on the host'
)


class Baseline:
    """Encode as the published code does, step by step and without any of our shortcuts.

    Attributes:
        name: For tables.
        tensors: Names of the tensors that the model gives.
        device: What it runs on.
    """

    name = BASELINE

    def __init__(self, params: EncoderParams) -> None:
        """Load the model.

        Raises:
            EngineError: There is no such device.
            ParameterError: The model is unknown.
            WeightsError: The model is missing or does not fit.
        """
        model = checkpoint.load(find_model(params.model))
        device = find_device(params.device)
        try:
            self._model = model.to(device)
        except RuntimeError as exc:
            raise EngineError(f'device {device} cannot be used: {first_line(exc)}') from exc
        self.device = str(device)
        self.tensors = model.config.tensors

    def expected(
        self, frames: Sequence[Frame], outputs: Collection[str]
    ) -> list[dict[str, NDArray[np.float32]]]:
        """Return what others are compared with: the tensors of `run`, in true float32.

        On CUDA, torch lets convolutions round their input to TF32 unless it is told otherwise, and
        the published code does not tell it.
        """
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return self.run(frames, outputs)[0]

    def run(
        self, frames: Sequence[Frame], outputs: Collection[str]
    ) -> tuple[list[dict[str, NDArray[np.float32]]], dict[str, float]]:
        """Encode pictures as one batch; see `contenders.Runner`."""
        clock = Stopwatch()
        with clock.step('preprocess'):
            images = np.stack([published_input(frame.rgb) for frame in frames])
        found: dict[str, torch.Tensor] = {}
        with torch.inference_mode():
            with clock.step('compute'):
                tokens = self._model.backbone(torch.from_numpy(images).to(self.device))
                patches = tokens[:, 1:]
                grid = patches.transpose(1, 2).reshape(len(frames), -1, GRID, GRID)
                for name in self.tensors:
                    if name in outputs:
                        found[name] = (
                            patches if name == BACKBONE else self._model.heads[name](grid)
                        )
                if self.device != 'cpu':
                    torch.cuda.synchronize(self.device)
            with clock.step('copy_back'):
                arrays = {k: v.cpu().numpy() for k, v in found.items()}
        return [{k: v[i] for k, v in arrays.items()} for i in range(len(frames))], clock.step_ms


def published_input(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return a picture as the published processor gives it to the model.

    Args:
        rgb: (H, W, 3), red first.

    Returns:
        (3, 224, 224) in -1..1: squashed, rescaled in double precision and rounded, then
        normalised in single precision.
    """
    # In the order that Pillow had when the code was published; see `resize.by_pillow`.
    narrow = Image.fromarray(rgb).resize((IMAGE_PX, len(rgb)), Image.Resampling.BILINEAR)
    resized = narrow.resize((IMAGE_PX, IMAGE_PX), Image.Resampling.BILINEAR)
    rescaled = (np.asarray(resized) * (1 / 255)).astype(np.float32)
    half = np.full(3, 0.5, np.float32)
    return ((rescaled - half) / half).transpose(2, 0, 1)
