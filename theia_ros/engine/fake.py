"""An engine without a network: wrong on purpose, but wrong in the right place."""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor

from theia_ros.catalog import BACKBONE
from theia_ros.catalog import PATCH_PX
from theia_ros.catalog import STUDENTS
from theia_ros.catalog import TARGETS
from theia_ros.engine.base import Pixels
from theia_ros.model import ModelConfig


class FakeEngine:
    """Give every token the mean colour of its own patch, over and over along the channels.

    It needs no weights and next to no time, and a transposed grid or a swapped channel still
    shows. It says what it is: its backend is part of every provenance.
    """

    backend = 'fake'
    precision = 'fp32'
    device = 'none'
    fingerprint = ''
    max_batch = 64
    pixels_on = torch.device('cpu')

    def __init__(self, config: ModelConfig) -> None:
        """Imitate a model of this shape."""
        self.config = config

    def infer(self, pixels: Pixels, tensors: Collection[str]) -> dict[str, Tensor]:
        """Return the tensors that are asked for; see `Engine.infer`."""
        images = torch.as_tensor(pixels).permute(0, 3, 1, 2).float() / 255  # (B, 3, H, W)
        return {name: self._tokens(images, name) for name in tensors}

    def close(self) -> None:
        """Do nothing."""

    def _tokens(self, images: Tensor, name: str) -> Tensor:
        height_px, width_px = images.shape[2:]
        if name == BACKBONE:
            grid_hw = height_px // PATCH_PX, width_px // PATCH_PX
            channels = STUDENTS[self.config.student].width
        else:
            grid_hw, channels = TARGETS[name].grid_hw, TARGETS[name].channels
            border = (1 - TARGETS[name].view) / 2
            y, x = round(height_px * border), round(width_px * border)
            images = images[:, :, y : height_px - y, x : width_px - x]
        colours = F.adaptive_avg_pool2d(images, grid_hw).flatten(2).transpose(1, 2)  # (B, N, 3)
        if name == BACKBONE:
            colours = torch.cat([colours.mean(dim=1, keepdim=True), colours], dim=1)
        return colours.repeat(1, 1, -(-channels // 3))[:, :, :channels].contiguous()
