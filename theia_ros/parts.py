"""What decoding needs beside the model: feature statistics and the teachers' own decoders.

They lie in the model's folder or, for models of the catalogue, in the cache:
`statistics/imagenet_mean_<teacher>.npy`, `statistics/imagenet_var_<teacher>.npy` (which holds
standard deviations, whatever its name says), `decoders/<name>.safetensors`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from theia_ros.catalog import cache_folder
from theia_ros.catalog import TARGETS
from theia_ros.errors import WeightsError


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each channel of a teacher's features, (C,) float32."""

    mean: Tensor
    std: Tensor

    def denormalise(self, tokens: Tensor) -> Tensor:
        """Return a head's prediction (B, N, C) in the teacher's own units."""
        return tokens * self.std.to(tokens.device) + self.mean.to(tokens.device)


def find_part(model_folder: Path, name: str) -> Path | None:
    """Return the path of a part such as `decoders/sam.safetensors`, or None if it is not here."""
    for folder in (model_folder, cache_folder()):
        if (folder / name).is_file():
            return folder / name
    return None


def read_statistics(model_folder: Path, teacher: str) -> Statistics | None:
    """Read the statistics of a teacher's features, or return None if they are not here.

    Raises:
        WeightsError: A file is damaged or of the wrong shape.
    """
    stem = TARGETS[teacher].key.replace('/', '_')
    mean = find_part(model_folder, f'statistics/imagenet_mean_{stem}.npy')
    std = find_part(model_folder, f'statistics/imagenet_var_{stem}.npy')
    if mean is None or std is None:
        return None
    return Statistics(_read_channels(mean, teacher), _read_channels(std, teacher))


def _read_channels(path: Path, teacher: str) -> Tensor:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as exc:
        raise WeightsError(f'{path} is no array file: {exc}') from exc
    channels = TARGETS[teacher].channels
    if values.shape != (channels,) or values.dtype.kind != 'f' or not np.isfinite(values).all():
        raise WeightsError(
            f'{path} holds {values.dtype} {values.shape}; expected {channels} finite float32'
        )
    return torch.from_numpy(values.astype(np.float32))
