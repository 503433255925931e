"""The model in parts, one for each tensor: the backbone, and each head on its tokens.

Parts are compiled, stored and run one by one. Heads thus share one pass of the backbone, only
what is asked for is computed, and no change of subscriptions compiles anything: a model has as
many engines as tensors, and not one for each set of tensors.
"""

from __future__ import annotations

import torch
from torch import nn
from torch import Tensor
from torch.export import Dim
from torch.export import export
from torch.export import ExportedProgram

from theia_ros.catalog import BACKBONE
from theia_ros.catalog import IMAGE_PX
from theia_ros.catalog import STUDENTS
from theia_ros.model import Backbone
from theia_ros.model import GRID
from theia_ros.model import ModelConfig
from theia_ros.model import TheiaModel


class BackbonePart(nn.Module):
    """Pixels (B, 224, 224, 3) uint8 to tokens (B, 197, C) float32."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalise and encode.

        The model looks its 256 values up in a table; compilers fuse this arithmetic, which
        differs from the table in the last bit of some values.
        """
        images = pixels.float() * (1 / 127.5) - 1
        tokens: Tensor = self.backbone(images.permute(0, 3, 1, 2))
        return tokens


class HeadPart(nn.Module):
    """Tokens (B, 197, C) float32 to one teacher's tokens (B, N, channels) float32."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, tokens: Tensor) -> Tensor:
        """Leave the CLS token out and predict."""
        grid = tokens[:, 1:].transpose(1, 2).reshape(tokens.shape[0], -1, GRID, GRID)
        predicted: Tensor = self.head(grid)
        return predicted


def part_of(model: TheiaModel, tensor: str) -> nn.Module:
    """Return the part of a model that gives a tensor.

    Args:
        model: Of the wanted precision; see `precision.in_precision`.
        tensor: Of its `config.tensors`.
    """
    if tensor == BACKBONE:
        return BackbonePart(model.backbone).eval()
    return HeadPart(model.heads[tensor]).eval()


def example_input(config: ModelConfig, tensor: str, batch: int) -> Tensor:
    """Return zeros of the shape and type that the part of `tensor` takes."""
    if tensor == BACKBONE:
        return torch.zeros(batch, IMAGE_PX, IMAGE_PX, 3, dtype=torch.uint8)
    return torch.zeros(batch, 1 + GRID * GRID, STUDENTS[config.student].width)


def export_part(model: TheiaModel, tensor: str, max_batch: int) -> ExportedProgram:
    """Export a part for batches of 1 to `max_batch`."""
    # A batch of one in the example would be taken for a constant.
    example = example_input(model.config, tensor, min(2, max_batch))
    batch = {0: Dim('batch', min=1, max=max_batch)} if max_batch > 1 else None
    with torch.no_grad():
        return export(part_of(model, tensor), (example,), dynamic_shapes=(batch,))
