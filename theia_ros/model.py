"""The Theia network: a plain vision transformer and one small head for each teacher.

Shang et al., "Theia: Distilling Diverse Vision Foundation Models for Robot Learning", CoRL 2024.
The backbone is DeiT (Touvron et al., 2021); heads predict the teachers' normalised features.
The order of the backbone's tokens, CLS first and then the patches row by row, is settled here
and nowhere else.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch import Tensor

from theia_ros.catalog import BACKBONE
from theia_ros.catalog import IMAGE_PX
from theia_ros.catalog import PATCH_PX
from theia_ros.catalog import STUDENTS
from theia_ros.catalog import TARGETS
from theia_ros.errors import EngineError
from theia_ros.preprocess import NORMALISED

CODE_VERSION = '1'
"""Changes whenever the numbers change; part of every provenance."""

TOKEN_LAYOUT = {
    'none': 'patches, row by row',
    'identity': 'CLS, then patches, row by row',
    'cls': 'CLS',
    'mean': 'mean of the patches',
    'max': 'maximum of the patches',
}
"""What each reduction leaves of the backbone's tokens."""

GRID = IMAGE_PX // PATCH_PX
HEAD_CHANNELS = 64


@dataclass(frozen=True)
class ModelConfig:
    """Shape of a model.

    Attributes:
        student: Key of `STUDENTS`.
        teachers: Keys of `TARGETS`, one for each head, in the order of the checkpoint.
        layer_norm_eps: Of the backbone's normalisations.
    """

    student: str
    teachers: tuple[str, ...]
    layer_norm_eps: float = 1e-12

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of all tensors that the model gives."""
        return (BACKBONE, *self.teachers)


class Layer(nn.Module):
    """Pre-norm transformer layer."""

    def __init__(self, width: int, heads: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps)
        self.qkv = nn.Linear(width, 3 * width)  # query, key, value, one after the other
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens (B, N, C) of the same shape."""
        batch, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, tokens, 3, self.heads, HEAD_CHANNELS)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, N, 64) each
        attended = F.scaled_dot_product_attention(q, k, v)
        x = x + self.proj(attended.transpose(1, 2).reshape(batch, tokens, width))
        y: Tensor = x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return y


class Backbone(nn.Module):
    """Vision transformer with a CLS token and a learned position table."""

    def __init__(self, width: int, heads: int, layers: int, eps: float) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, 1 + GRID * GRID, width))
        self.patches = nn.Conv2d(3, width, PATCH_PX, PATCH_PX)
        self.layers = nn.ModuleList(Layer(width, heads, eps) for _ in range(layers))
        self.norm = nn.LayerNorm(width, eps)

    def forward(self, images: Tensor) -> Tensor:
        """Return tokens (B, 1 + h * w, C) of images (B, 3, H, W) in -1..1."""
        grid = self.patches(images)  # (B, C, h, w)
        tokens = grid.flatten(2).transpose(1, 2)  # (B, h * w, C), row-major
        cls = self.cls_token.expand(tokens.shape[0], -1, -1)
        x = torch.cat([cls, tokens], dim=1) + self.positions_for(grid.shape[2], grid.shape[3])
        for layer in self.layers:
            x = layer(x)
        normed: Tensor = self.norm(x)
        return normed

    def positions_for(self, h: int, w: int) -> Tensor:
        """Return the position table for a grid, (1, 1 + h * w, C).

        The published code resizes the table by a scale factor that is a little larger than the
        ratio of the sizes, which guards against rounding and moves the sampling points.
        """
        if h == w == GRID:
            return self.positions
        width = self.positions.shape[2]
        table = self.positions[:, 1:].reshape(1, GRID, GRID, width).permute(0, 3, 1, 2)
        scale = ((h + 0.1) / GRID, (w + 0.1) / GRID)
        table = F.interpolate(table, scale_factor=scale, mode='bicubic', align_corners=False)
        rows = table.flatten(2).transpose(1, 2)  # (1, h * w, C)
        return torch.cat([self.positions[:, :1], rows], dim=1)


def _head(width: int, channels: int, grid_hw: tuple[int, int]) -> nn.Sequential:
    """Return a head: (B, C, 14, 14) -> (B, h * w, channels), normalised teacher features.

    Every normalisation is over the whole volume of channels, rows and columns, and follows its
    activation.
    """
    if grid_hw == (16, 16):
        middle: list[nn.Module] = [
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.LayerNorm((width, 16, 16)),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.LayerNorm((width, 16, 16)),
        ]
    else:  # 64 x 64
        middle = [
            nn.ConvTranspose2d(width, width, 3, stride=2, padding=1),  # 16 -> 31
            nn.ReLU(),
            nn.LayerNorm((width, 31, 31)),
            nn.ConvTranspose2d(width, width, 3, stride=2, output_padding=1),  # 31 -> 64
            nn.ReLU(),
            nn.LayerNorm((width, 64, 64)),
        ]
    # The index of each step is its number in checkpoint keys, counted from the widening.
    return nn.Sequential(
        nn.ConvTranspose2d(width, width, 3),  # 14 -> 16
        nn.LayerNorm((width, 16, 16)),
        *middle,
        _ToTokens(),
        nn.Linear(width, channels),
    )


class _ToTokens(nn.Module):
    def forward(self, grid: Tensor) -> Tensor:  # (B, C, h, w) -> (B, h * w, C), row-major
        return grid.flatten(2).transpose(1, 2)


class TheiaModel(nn.Module):
    """Pixels in, tokens out.

    Attributes:
        config: Shape of the model.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        student = STUDENTS[config.student]
        self.backbone = Backbone(
            student.width, student.heads, student.layers, config.layer_norm_eps
        )
        self.heads = nn.ModuleDict(
            {
                name: _head(student.width, TARGETS[name].channels, TARGETS[name].grid_hw)
                for name in config.teachers
            }
        )
        self.register_buffer('normalised', torch.from_numpy(NORMALISED), persistent=False)

    def forward(self, pixels: Tensor, tensors: Collection[str]) -> dict[str, Tensor]:
        """Compute the tensors that are asked for, and no others, in one pass of the backbone.

        Args:
            pixels: (B, H, W, 3) uint8, red first; 224 by 224 when a head is asked for.
            tensors: Of `config.tensors`.

        Returns:
            `theia`: (B, 1 + h * w, C), CLS first; a teacher: (B, N, C), without CLS, normalised
            as in training.
        """
        images = self.normalise(pixels)
        tokens = self.backbone(images)
        found = {BACKBONE: tokens} if BACKBONE in tensors else {}
        teachers = [name for name in self.config.teachers if name in tensors]
        if teachers:
            h, w = images.shape[2] // PATCH_PX, images.shape[3] // PATCH_PX
            if (h, w) != (GRID, GRID):
                raise EngineError(
                    f'{teachers[0]} needs a grid of {GRID}x{GRID} patches, found {h}x{w}; '
                    'use preprocessing official'
                )
            found |= self.imitate(tokens[:, 1:], teachers)
        return found

    def imitate(self, patches: Tensor, teachers: Collection[str]) -> dict[str, Tensor]:
        """Return what the heads of these teachers predict.

        Args:
            patches: (B, 196, C), the backbone's tokens without CLS.
            teachers: Of `config.teachers`.

        Returns:
            (B, N, channels) by teacher, normalised as in training.
        """
        grid = patches.transpose(1, 2).reshape(len(patches), -1, GRID, GRID)
        return {name: self.heads[name](grid) for name in teachers}

    def normalise(self, pixels: Tensor) -> Tensor:
        """Return pixels as the backbone takes them.

        Args:
            pixels: (B, H, W, 3) uint8.

        Returns:
            (B, 3, H, W) in -1..1, in the precision of the model, equal to the published
            processor in float32.
        """
        table: Tensor = self.get_buffer('normalised')
        return table[pixels.long()].permute(0, 3, 1, 2)


def reduce(tokens: Tensor, reduction: str) -> Tensor:
    """Reduce the backbone's tokens.

    Args:
        tokens: (B, 1 + N, C), CLS first.
        reduction: `none` keeps the N patch tokens, `identity` all of them; `cls`, `mean` and
            `max` leave one token, the last two of the patch tokens.

    Returns:
        (B, N, C), (B, 1 + N, C) or (B, 1, C).
    """
    patches = tokens[:, 1:]
    reduced: Tensor = {
        'none': lambda: patches,
        'cls': lambda: tokens[:, :1],
        'mean': lambda: patches.mean(dim=1, keepdim=True),
        'max': lambda: patches.amax(dim=1, keepdim=True),
        'identity': lambda: tokens,
    }[reduction]()
    return reduced
