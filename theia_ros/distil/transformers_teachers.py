"""The five teachers of Theia, by the transformers library: what each sees, and what is kept.

Every teacher sees the picture that the student sees, squashed to 224 by 224.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from theia_ros.catalog import TARGETS
from theia_ros.distil.data import Pictures
from theia_ros.errors import first_line
from theia_ros.errors import ParameterError
from theia_ros.errors import WeightsError

_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@dataclass(frozen=True)
class View:
    """What a teacher's own processor makes of a square picture.

    Attributes:
        side_px: That it is resized to.
        crop_px: Of the middle that is kept.
        filter: Of the resize.
        mean_std: Of red, green and blue.
    """

    side_px: int
    crop_px: int
    filter: Image.Resampling
    mean_std: tuple[tuple[float, ...], tuple[float, ...]]

    def images(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Return (B, 3, crop, crop) float32 of pictures (B, 224, 224, 3)."""
        size, edge = (self.side_px, self.side_px), (self.side_px - self.crop_px) // 2
        box = slice(edge, edge + self.crop_px)
        resized = [
            np.asarray(Image.fromarray(one).resize(size, self.filter))[box, box] for one in pixels
        ]
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in self.mean_std)
        images = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2)
        return (images.float() / 255 - mean) / std


_BILINEAR, _BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC
VIEWS: Mapping[str, View] = {
    'vit': View(224, 224, _BILINEAR, _HALF),
    # Its processor cuts the edges off: `Teacher.view` in the catalogue says so to the decoders.
    'dinov2': View(256, 224, _BICUBIC, _IMAGENET),
    'clip': View(224, 224, _BICUBIC, _CLIP),
    'sam': View(1024, 1024, _BILINEAR, _IMAGENET),
    'depth_anything': View(518, 518, _BICUBIC, _IMAGENET),
}


def _last_tokens(model: Any, images: Tensor) -> Tensor:
    tokens: Tensor = model(images).last_hidden_state[:, 1:]
    return tokens


def _embedding(model: Any, images: Tensor) -> Tensor:
    embedding: Tensor = model.vision_encoder(images)[0]  # (B, 256, 64, 64), after the neck
    return embedding.flatten(2).transpose(1, 2)


def _before_depth(model: Any, images: Tensor) -> Tensor:
    """Return what the second convolution of the head gives, before its activation."""
    found: list[Tensor] = []
    hook = model.head.conv2.register_forward_hook(lambda _, __, output: found.append(output))
    try:
        model(images)
    finally:
        hook.remove()
    grid = F.interpolate(found[0], TARGETS['depth_anything'].grid_hw, mode='nearest')
    return grid.flatten(2).transpose(1, 2)


_NETWORKS: Mapping[str, tuple[str, Callable[[Any, Tensor], Tensor]]] = {
    'vit': ('ViTModel', _last_tokens),
    'dinov2': ('Dinov2Model', _last_tokens),
    'clip': ('CLIPVisionModel', _last_tokens),  # before the last normalisation, not projected
    'sam': ('SamModel', _embedding),
    'depth_anything': ('DepthAnythingForDepthEstimation', _before_depth),
}
"""Class in transformers, and how its output becomes tokens."""


class TransformersTeacher:
    """A teacher of Theia."""

    dtype = torch.bfloat16

    def __init__(self, name: str, folder: str, device: torch.device) -> None:
        """Prepare to ask; the weights are loaded when they are needed.

        Args:
            name: Key of `VIEWS`.
            folder: With `config.json` and `model.safetensors`; empty: from the hub.
            device: That it runs on.

        Raises:
            ParameterError: transformers is not installed, or there is no such folder.
        """
        try:
            import transformers  # noqa: F401
        except ImportError as exc:
            raise ParameterError(
                f'the teacher {name} needs transformers ({exc}); '
                "run: pip install 'theia_ros[distil]'"
            ) from exc
        if folder and not Path(folder).is_dir():
            raise ParameterError(f'--teachers {name}={folder}: no such folder')
        teacher = TARGETS[name]
        self.name = name
        self.identity = f'{_origin(folder) if folder else teacher.key}, {VIEWS[name]}'
        self.shape = (teacher.grid_hw[0] * teacher.grid_hw[1], teacher.channels)
        self.batch = 1 if name in ('sam', 'depth_anything') else 8
        self._folder, self._device = folder, device
        self._model: Any = None

    def targets(self, pictures: Pictures) -> Tensor:
        """Return (B, N, C)."""
        if self._model is None:
            self._model = self._load()
        images = VIEWS[self.name].images(pictures.pixels.numpy()).to(self._device)
        tokens = _NETWORKS[self.name][1](self._model, images)
        if tuple(tokens.shape[1:]) != self.shape:
            raise WeightsError(
                f'{self._folder or self.name} gives tokens {tuple(tokens.shape[1:])}; a head for '
                f'{self.name} learns {self.shape}'
            )
        return tokens

    def _load(self) -> Any:
        import transformers

        place = self._folder or TARGETS[self.name].key
        network = getattr(transformers, _NETWORKS[self.name][0])
        try:
            model = network.from_pretrained(place, use_safetensors=True)
        except Exception as exc:  # network, disk, damage: it raises whatever its parts raise
            raise WeightsError(
                f'the teacher {self.name} cannot be loaded from {place}: {first_line(exc)}; '
                f'download it with the hub tools and give --teachers {self.name}=FOLDER'
            ) from exc
        return model.to(self._device).eval()


def _origin(folder: str) -> str:
    """Return what changes with the files of a folder."""
    files = sorted(path for path in Path(folder).iterdir() if path.is_file())
    return str([(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files])
