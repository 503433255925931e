"""The transformer between a prompt's few tokens and the many of the image.

Kirillov et al., "Segment Anything", ICCV 2023, appendix A. P prompts of T tokens look at one image
of N tokens; T is 7 and N is 4096. Where one side is so short, attention is cheapest in its space:
with E = 256 channels outside, 16 inside each of 8 heads,

    scores = (q W_q + b_q) (k W_k + b_k)^T = ((q W_q + b_q) W_k^T) k^T + a constant of each row

needs 56 x 256 products for an image token instead of 128 x 256, and the constant does not pass
the softmax. Values and the way back are treated alike. Results differ in rounding alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn
from torch import Tensor

WIDTH = 256
HEADS = 8
INNER = 128
"""Width of the attention between prompts and image."""


@dataclass(frozen=True)
class Image:
    """What is computed of a picture once, whatever the prompts are.

    Attributes:
        tokens: (N, 256), row-major over the grid.
        position: (N, 256), code of the places of the grid's cells.
        keys: (8, N, 16), of the first layer, by attention head like those that follow.
        values: (8, N, 16).
        queries: (8, N, 16), for the way back to the image.
    """

    tokens: Tensor
    position: Tensor
    keys: Tensor
    values: Tensor
    queries: Tensor


class Attention(nn.Module):
    """Attention whose inner width may be smaller than the tokens'."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(WIDTH, inner)
        self.k_proj = nn.Linear(WIDTH, inner)
        self.v_proj = nn.Linear(WIDTH, inner)
        self.out_proj = nn.Linear(inner, WIDTH)
        self.scale = (inner // HEADS) ** -0.5

    def among(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Let a prompt's tokens look at each other, (P, T, 256) all."""
        k, v = by_head(self.k_proj(keys)), by_head(self.v_proj(values))
        return self.at(queries, k, v)

    def at(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Let tokens (P, T, 256) look at projected keys and values (..., 8, N, d)."""
        q = by_head(self.q_proj(queries)) * self.scale
        weights = (q @ keys.transpose(-1, -2)).softmax(dim=-1)  # (P, 8, T, N)
        seen = (weights @ values).transpose(1, 2).flatten(2)  # (P, T, inner)
        attended: Tensor = self.out_proj(seen)
        return attended

    def at_image(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Let tokens (P, T, 256) look at an image's, (P, N, 256), before their projection."""
        q = by_head(self.q_proj(queries)) * self.scale  # (P, 8, T, 16)
        q = (q @ rows_by_head(self.k_proj.weight)).flatten(1, 2)  # (P, 8 * T, 256)
        # The bias of the keys adds the same to all scores of a query, which softmax ignores.
        weights = (q @ keys.transpose(1, 2)).softmax(dim=-1)  # (P, 8 * T, N)
        seen = torch.unflatten(weights @ values, 1, (HEADS, -1))  # (P, 8, T, 256)
        seen = seen @ rows_by_head(self.v_proj.weight).transpose(1, 2)  # (P, 8, T, 16)
        attended: Tensor = self.out_proj(seen.transpose(1, 2).flatten(2) + self.v_proj.bias)
        return attended

    def image_scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Return how image tokens (P, N, 256) look at tokens (P, T, 256): (P, 8, T, N)."""
        k = by_head(self.k_proj(keys)) * self.scale  # (P, 8, T, 16)
        folded = (k @ rows_by_head(self.q_proj.weight)).flatten(1, 2)  # (P, 8 * T, 256)
        bias = (k @ self.q_proj.bias.view(HEADS, -1, 1)).flatten(1, 2)  # (P, 8 * T, 1)
        scores = torch.baddbmm(bias, folded, queries.transpose(1, 2))
        return torch.unflatten(scores, 1, (HEADS, -1))

    def fixed_image_scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Return the same for the projected queries (8, N, 16) of one image."""
        k = by_head(self.k_proj(keys)) * self.scale  # (P, 8, T, 16)
        scores: Tensor = k @ queries.transpose(-1, -2)
        return scores

    def give(self, pictures: Tensor, scores: Tensor, values: Tensor) -> Tensor:
        """Return image tokens with what they see of the tokens added, (P, N, 256).

        Args:
            pictures: (P, N, 256), or (N, 256) for the same image everywhere.
            scores: (P, 8, T, N). Softmax over their middle is several times as fast as over
                seven numbers at the end.
            values: (P, T, 256), before their projection.
        """
        v = by_head(self.v_proj(values))  # (P, 8, T, 16)
        folded = (v @ rows_by_head(self.out_proj.weight.T)).flatten(1, 2)  # (P, 8 * T, 256)
        # The weights of a head sum to one, so that eight eighths of the bias arrive.
        folded = folded + self.out_proj.bias / HEADS
        weights = scores.softmax(dim=2).flatten(1, 2)  # (P, 8 * T, N)
        given: Tensor = torch.baddbmm(pictures, weights.transpose(1, 2), folded)
        return given


def by_head(x: Tensor) -> Tensor:
    """Split (..., N, inner) into (..., 8, N, inner / 8)."""
    return torch.unflatten(x, -1, (HEADS, -1)).transpose(-2, -3)


def rows_by_head(weight: Tensor) -> Tensor:
    """Split a matrix (inner, 256) into (8, inner / 8, 256)."""
    return weight.reshape(HEADS, -1, WIDTH)


class _Layer(nn.Module):
    """Tokens attend to each other and to the image, pass an MLP, and the image attends to them."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = Attention(WIDTH)
        self.layer_norm1 = nn.LayerNorm(WIDTH, 1e-6)
        self.cross_attn_token_to_image = Attention(INNER)
        self.layer_norm2 = nn.LayerNorm(WIDTH, 1e-6)
        self.mlp = nn.ModuleDict({'lin1': nn.Linear(WIDTH, 2048), 'lin2': nn.Linear(2048, WIDTH)})
        self.layer_norm3 = nn.LayerNorm(WIDTH, 1e-6)
        self.cross_attn_image_to_token = Attention(INNER)
        self.layer_norm4 = nn.LayerNorm(WIDTH, 1e-6)

    def first(self, prompts: Tensor, image: Image) -> tuple[Tensor, Tensor]:
        """Begin with the bare prompts (P, T, 256); return them and the image (P, N, 256)."""
        # The first attention has no residual: its result replaces the tokens.
        tokens = self.layer_norm1(self.self_attn.among(prompts, prompts, prompts))
        attended = self.cross_attn_token_to_image.at(tokens + prompts, image.keys, image.values)
        tokens = self._feed_forward(tokens, attended)
        back = self.cross_attn_image_to_token
        scores = back.fixed_image_scores(image.queries, tokens + prompts)
        return tokens, self.layer_norm4(back.give(image.tokens, scores, tokens))

    def forward(
        self, tokens: Tensor, pictures: Tensor, prompts: Tensor, position: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Go on with tokens (P, T, 256) and the image as each prompt sees it, (P, N, 256)."""
        named = tokens + prompts
        tokens = self.layer_norm1(tokens + self.self_attn.among(named, named, tokens))
        placed = pictures + position
        attended = self.cross_attn_token_to_image.at_image(tokens + prompts, placed, pictures)
        tokens = self._feed_forward(tokens, attended)
        back = self.cross_attn_image_to_token
        scores = back.image_scores(placed, tokens + prompts)
        return tokens, self.layer_norm4(back.give(pictures, scores, tokens))

    def _feed_forward(self, tokens: Tensor, attended: Tensor) -> Tensor:
        tokens = self.layer_norm2(tokens + attended)
        hidden = F.relu(self.mlp['lin1'](tokens))
        normed: Tensor = self.layer_norm3(tokens + self.mlp['lin2'](hidden))
        return normed


class TwoWayTransformer(nn.Module):
    """Two layers, and a last look at the image."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([_Layer(), _Layer()])
        self.final_attn_token_to_image = Attention(INNER)
        self.layer_norm_final_attn = nn.LayerNorm(WIDTH, 1e-5)

    def image(self, tokens: Tensor, position: Tensor) -> Image:
        """Compute what depends on the image alone.

        Args:
            tokens: (N, 256).
            position: (N, 256).
        """
        first = cast(_Layer, self.layers[0])
        look, back = first.cross_attn_token_to_image, first.cross_attn_image_to_token
        placed = tokens + position
        return Image(
            tokens,
            position,
            keys=by_head(look.k_proj(placed)),
            values=by_head(look.v_proj(tokens)),
            queries=by_head(back.q_proj(placed)),
        )

    def forward(self, prompts: Tensor, image: Image) -> tuple[Tensor, Tensor]:
        """Return prompts (P, T, 256) and image (P, N, 256), each with what it saw of the other."""
        first, second = (cast(_Layer, layer) for layer in self.layers)
        tokens, pictures = first.first(prompts, image)
        tokens, pictures = second(tokens, pictures, prompts, image.position)
        look = self.final_attn_token_to_image
        attended = look.at_image(tokens + prompts, pictures + image.position, pictures)
        return self.layer_norm_final_attn(tokens + attended), pictures
