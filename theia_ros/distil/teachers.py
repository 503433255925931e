"""Teachers: pictures in, targets of a head out; computed once and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from theia_ros.catalog import BACKBONE
from theia_ros.catalog import CLASSES
from theia_ros.catalog import TARGETS
from theia_ros.cells import to_tokens
from theia_ros.distil import files
from theia_ros.distil.data import Data
from theia_ros.distil.data import Pictures
from theia_ros.distil.data import Progress
from theia_ros.distil.data import SHARD
from theia_ros.distil.data import Shards
from theia_ros.distil.truth import log_depth
from theia_ros.distil.truth import UNKNOWN
from theia_ros.engine.source import Source
from theia_ros.errors import ParameterError
from theia_ros.model import GRID
from theia_ros.model import TheiaModel

CPU = torch.device('cpu')


class Teacher(Protocol):
    """Knows what a head should predict.

    Attributes:
        name: Key of `TARGETS`.
        identity: Changes with the numbers.
        shape: (N, C) of the targets of a picture.
        dtype: That they are kept in.
        batch: Pictures of one call.
    """

    name: str
    identity: str
    shape: tuple[int, int]
    dtype: torch.dtype
    batch: int

    def targets(self, pictures: Pictures) -> Tensor:
        """Return what a head should predict of each picture, (B, N, C), not yet normalised."""


class DepthTruth:
    """The depth that a simulator knows: its logarithm, NaN where it is not known."""

    name, identity, dtype, batch = 'depth', 'simulator, log of metres', torch.float16, SHARD
    shape = (256, TARGETS['depth'].channels)

    def targets(self, pictures: Pictures) -> Tensor:
        """Return (B, 256, 16); see `cells`."""
        return log_depth(pictures.depth_m)


class ClassTruth:
    """The classes that a simulator knows, 255 where they are not known."""

    name, identity, dtype, batch = 'classes', 'simulator, classes', torch.uint8, SHARD
    shape = (256, TARGETS['classes'].channels // CLASSES)

    def targets(self, pictures: Pictures) -> Tensor:
        """Return (B, 256, 16); see `cells`."""
        known = pictures.labels[pictures.labels != UNKNOWN]
        if known.numel() and int(known.max()) >= CLASSES:
            raise ParameterError(
                f'a truth has class {int(known.max())}; a head tells {CLASSES} apart, 0 to '
                f'{CLASSES - 1}'
            )
        return to_tokens(pictures.labels)


class FrozenBackbone:
    """The tokens of a backbone that does not learn, so that they are computed once."""

    name, dtype, batch = 'tokens', torch.float16, 16

    def __init__(self, source: Source, device: torch.device) -> None:
        """Take the backbone of a model; its weights are read when they are needed."""
        self.identity = f'backbone of {source.weights_sha256}'
        self.shape = (GRID * GRID, source.model.backbone.norm.weight.shape[0])
        self._source, self._device = source, device

    def targets(self, pictures: Pictures) -> Tensor:
        """Return (B, 196, C), without CLS."""
        model = self._source.model.to(self._device)
        return patch_tokens(model, pictures.pixels.to(self._device))


def patch_tokens(model: TheiaModel, pixels: Tensor) -> Tensor:
    """Return the tokens of a backbone without CLS, (B, 196, C), of pictures (B, 224, 224, 3)."""
    tokens: Tensor = model(pixels, {BACKBONE})[BACKBONE]
    return tokens[:, 1:]


class Targets:
    """What one teacher says of all pictures."""

    def __init__(self, folder: Path) -> None:
        """Open what `collect` made."""
        self._shards = Shards(folder)

    def rows(
        self, pictures: Sequence[int] | NDArray[np.int64], device: torch.device = CPU
    ) -> Tensor:
        """Return the targets of some pictures, (B, N, C), float32; whole numbers for classes."""
        rows = self._shards.rows('targets', pictures).to(device)
        return rows.float() if rows.is_floating_point() else rows


def key_of(teacher: Teacher, data: Data) -> str:
    """Return what changes with a teacher and with pictures: where it says what of them."""
    text = f'{teacher.identity}\n{teacher.dtype}\n{data.key}'
    return f'{teacher.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}'


def collect(teacher: Teacher, data: Data, root: Path, progress: Progress) -> Targets:
    """Ask a teacher about every picture, or find what it said earlier.

    What is finished is kept when this ends early, and it goes on from there.

    Args:
        teacher: To ask.
        data: The pictures.
        root: Folder of everything that is kept.
        progress: Is told of it.

    Raises:
        ParameterError: The disk is full.
        WeightsError: The teacher cannot be had.
    """
    folder, count = root / key_of(teacher, data), len(data)
    for first in range(0, count, SHARD):
        rows = range(first, min(first + SHARD, count))
        path = Shards(folder).path(first // SHARD)
        if files.is_whole(path, (len(rows), *teacher.shape), 'targets'):
            continue
        parts = []
        for start in range(rows.start, rows.stop, teacher.batch):
            progress(f'asking {teacher.name}', start, count)
            pictures = data.pictures(range(start, min(start + teacher.batch, rows.stop)))
            with torch.inference_mode():
                parts.append(teacher.targets(pictures).to(teacher.dtype).cpu())
        files.write_tensors(path, {'targets': torch.cat(parts)})
    return Targets(folder)


def open_teacher(name: str, folder: str, device: torch.device) -> Teacher:
    """Return a teacher by name.

    Args:
        name: Key of `TARGETS`.
        folder: Of its weights; empty: from where they are published.
        device: That it runs on.

    Raises:
        ParameterError: It takes no folder.
    """
    if name in ('depth', 'classes'):
        if folder:
            raise ParameterError(f'--teachers {name}={folder}: the truth lies beside the videos')
        return DepthTruth() if name == 'depth' else ClassTruth()
    if name == 'dinov2_small':
        from theia_ros.distil.dinov2_small import DinoV2Small

        return DinoV2Small(Path(folder) if folder else None, device)
    from theia_ros.distil.transformers_teachers import TransformersTeacher

    return TransformersTeacher(name, folder, device)
