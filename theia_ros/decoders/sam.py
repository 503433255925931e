"""The network that draws masks: prompt encoder and mask decoder of Segment Anything.

Kirillov et al., "Segment Anything", ICCV 2023, section 3 and appendix A. A point and an image
embedding give three masks, each with a guess of its quality. Modules are called as in the
published weights; those for box and mask prompts are not used.

The order of the work is our own: what depends on the image alone is done once for all prompts
(`SamDecoder.look`), and quality is known before anything is drawn, so that nothing is drawn that
will not be kept. What it draws is the same up to rounding.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch import Tensor

from theia_ros.decoders.two_way import Image
from theia_ros.decoders.two_way import TwoWayTransformer
from theia_ros.decoders.two_way import WIDTH
from theia_ros.tensor_file import read_tensors

FRAME_PX = 1024
"""Side of the square frame that points are given in."""
GRID = 64
"""Side of the image embedding."""
MASKS = 3
"""Masks of one point: whole, part and part of a part, in no fixed order."""

_POSITION = 'shared_image_embedding.positional_embedding'
_POSITION_COPY = 'prompt_encoder.shared_embedding.positional_embedding'


class SamDecoder(nn.Module):
    """Image embedding and points in, masks out."""

    def __init__(self) -> None:
        super().__init__()
        self.shared_image_embedding = _PositionCode()
        self.prompt_encoder = _PromptEncoder()
        self.mask_decoder = _MaskDecoder()

    def look(self, embedding: Tensor) -> Image:
        """Compute what depends on the image alone.

        Args:
            embedding: (256, 64, 64), in the units of SAM's image encoder.
        """
        cells = (torch.arange(GRID, device=embedding.device) + 0.5) / GRID
        y, x = torch.meshgrid(cells, cells, indexing='ij')
        position = self.shared_image_embedding(torch.stack([x, y], dim=-1)).flatten(0, 1)
        # The network is told that no mask was given as a prompt.
        tokens = embedding.flatten(1).T + self.prompt_encoder.no_mask_embed.weight
        return self.mask_decoder.transformer.image(tokens, position)

    def point(self, xy_px: Tensor) -> Tensor:
        """Return the prompts (P, 7, 256) that point at places (P, 2) of the square frame."""
        encoder, decoder = self.prompt_encoder, self.mask_decoder
        places = self.shared_image_embedding((xy_px + 0.5) / FRAME_PX)
        return torch.cat(
            [
                decoder.iou_token.weight.expand(len(xy_px), -1, -1),
                decoder.mask_tokens.weight.expand(len(xy_px), -1, -1),
                (places + encoder.point_embed[1].weight)[:, None],
                # The network is told that there is no second point.
                encoder.not_a_point_embed.weight.expand(len(xy_px), 1, -1),
            ],
            dim=1,
        )

    def forward(
        self, image: Image, prompts: Tensor, iou_threshold: float = 0.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draw the masks whose predicted quality is above a threshold.

        Args:
            image: See `look`.
            prompts: (P, 7, 256); see `point`.
            iou_threshold: All masks are drawn when it is 0 or less.

        Returns:
            The quality of all masks, (P, 3); which were drawn, (P, 3) bool; and logits of those,
            (K, 256, 256), in the order of the prompts.
        """
        tokens, pictures = self.mask_decoder.transformer(prompts, image)
        scores = self.mask_decoder.iou_prediction_head(tokens[:, 0])[:, 1:]  # the first: one mask
        drawn = scores > iou_threshold if iou_threshold > 0 else torch.ones_like(scores).bool()
        some = drawn.any(dim=1)
        if not some.all():  # a copy of the pictures is large
            tokens, pictures = tokens[some], pictures[some]
        logits = self.mask_decoder.draw(tokens[:, 2 : 2 + MASKS], pictures)
        return scores, drawn, logits[drawn[some]]


def load(path: Path) -> SamDecoder:
    """Load the network, in float32 and on the CPU, ready to infer.

    Args:
        path: File with those of the published tensors that are not the image encoder's. One of
            them is published under two names; either or both may be there.

    Raises:
        WeightsError: The file is damaged, or its tensors are not exactly the expected ones.
    """
    with torch.device('meta'):  # no memory and no random numbers for what is loaded anyway
        network = SamDecoder()
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    tensors = read_tensors(
        path,
        shapes,
        'the mask decoder of SAM',
        spares={_POSITION_COPY: _POSITION},
    )
    network.load_state_dict(tensors, strict=True, assign=True)
    return network.eval().requires_grad_(False)


class _PositionCode(nn.Module):
    """Random Fourier features (Tancik et al., 2020) of places in the unit square."""

    positional_embedding: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('positional_embedding', torch.zeros(2, WIDTH // 2))

    def forward(self, xy: Tensor) -> Tensor:
        """Return the code (..., 256) of places (..., 2) in 0..1."""
        angles = 2 * math.pi * ((2 * xy - 1) @ self.positional_embedding)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class _PromptEncoder(nn.Module):
    """The learned parts of prompts. Of `point_embed`, the second means a point to be masked."""

    def __init__(self) -> None:
        super().__init__()
        self.mask_embed = nn.ModuleDict(
            {
                'conv1': nn.Conv2d(1, 4, 2, 2),
                'layer_norm1': nn.LayerNorm(4),
                'conv2': nn.Conv2d(4, 16, 2, 2),
                'layer_norm2': nn.LayerNorm(16),
                'conv3': nn.Conv2d(16, WIDTH, 1),
            }
        )
        self.no_mask_embed = nn.Embedding(1, WIDTH)
        self.point_embed = nn.ModuleList(nn.Embedding(1, WIDTH) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, WIDTH)


class _MaskDecoder(nn.Module):
    """Tokens of prompt and image in, masks out."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer = TwoWayTransformer()
        self.iou_token = nn.Embedding(1, WIDTH)
        self.mask_tokens = nn.Embedding(1 + MASKS, WIDTH)  # the first is for one mask alone
        self.upscale_conv1 = nn.ConvTranspose2d(WIDTH, 64, 2, 2)
        self.upscale_layer_norm = nn.LayerNorm(64, 1e-6)
        self.upscale_conv2 = nn.ConvTranspose2d(64, 32, 2, 2)
        self.output_hypernetworks_mlps = nn.ModuleList(_Mlp(32) for _ in range(1 + MASKS))
        self.iou_prediction_head = _Mlp(1 + MASKS)

    def draw(self, tokens: Tensor, pictures: Tensor) -> Tensor:
        """Draw the masks of each prompt.

        Args:
            tokens: (P, 3, 256), of the masks.
            pictures: (P, N, 256), the image as each prompt sees it.

        Returns:
            Logits, (P, 3, 256, 256).
        """
        mlps = self.output_hypernetworks_mlps[1:]
        brushes = torch.stack([mlp(tokens[:, i]) for i, mlp in enumerate(mlps)], dim=2)
        # Channels stay last all the way: each step is one matrix product, and only the masks,
        # which are small, are brought into the order of pixels.
        fine = _quadruple(pictures, self.upscale_conv1)  # (P, N, 4, 64)
        fine = F.gelu(self.upscale_layer_norm(fine))
        fine = F.gelu(_quadruple(fine, self.upscale_conv2))  # (P, N, 4, 4, 32)
        masks = fine.flatten(1, 3) @ brushes  # (P, N * 16, 32) by (P, 32, 3)
        cells = masks.view(len(masks), GRID, GRID, 2, 2, 2, 2, MASKS)  # y x, halves, quarters
        return cells.permute(0, 7, 1, 3, 5, 2, 4, 6).reshape(-1, MASKS, 4 * GRID, 4 * GRID)


def _quadruple(cells: Tensor, conv: nn.ConvTranspose2d) -> Tensor:
    """Cut cells (..., C) into four (..., 4, C'), row by row, as a convolution with stride 2."""
    weight = conv.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (4 * C', C)
    assert conv.bias is not None
    return torch.unflatten(F.linear(cells, weight, conv.bias.repeat(4)), -1, (4, -1))


class _Mlp(nn.Module):
    """Three layers with ReLU between."""

    def __init__(self, out: int) -> None:
        super().__init__()
        self.proj_in = nn.Linear(WIDTH, WIDTH)
        self.layers = nn.ModuleList([nn.Linear(WIDTH, WIDTH)])
        self.proj_out = nn.Linear(WIDTH, out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., 256) to (..., out)."""
        x = F.relu(self.layers[0](F.relu(self.proj_in(x))))
        out: Tensor = self.proj_out(x)
        return out
