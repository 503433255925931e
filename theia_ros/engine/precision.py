"""What is computed in half precision, and what never is.

Linear layers and convolutions carry nearly all of the work and stand half precision well. The
residual stream, every normalisation and the softmax of the attention do not: the heads normalise
over whole volumes, where plain float16 overflows, and sums over many small numbers lose them.
The policy is a change of the model itself, with every cast written out, so that all backends
share it and compile what they are given.

`written_out` also replaces two steps that compilers cannot be left alone with: they choose for
themselves how a fused attention sums, and Torch-TensorRT drops the output padding of a transposed
convolution whose padding is smaller.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import nn
from torch import Tensor

from theia_ros.model import HEAD_CHANNELS
from theia_ros.model import Layer
from theia_ros.model import TheiaModel

DTYPES: Mapping[str, torch.dtype] = {
    'fp32': torch.float32,
    'fp16': torch.float16,
    'bf16': torch.bfloat16,
}

_Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


def in_precision(
    model: TheiaModel, precision: str, *, written_out: bool = False, stepwise_norms: bool = False
) -> TheiaModel:
    """Return the same model with the arithmetic of a precision.

    Args:
        model: In float32; it is left as it is, and what stays in float32 is shared with it.
        precision: Key of `DTYPES`.
        written_out: Prepare it for a compiler.
        stepwise_norms: Normalise the heads' volumes by `StepwiseNorm`.

    Returns:
        A model that takes and gives the same types.
    """
    twin = _twin(model)
    if stepwise_norms:
        for name, head in twin.heads.items():
            twin.heads[name] = nn.Sequential(
                *(StepwiseNorm(s) if isinstance(s, nn.LayerNorm) else s for s in head.children())
            )
    if precision == 'fp32' and not written_out:
        return twin
    dtype = DTYPES[precision]
    attention = _attention_step_by_step if written_out else _fused_attention
    backbone = twin.backbone
    patches = _with_casts([backbone.patches], dtype, written_out)
    backbone.patches = patches  # type: ignore[assignment]
    backbone.layers = nn.ModuleList(
        MixedLayer(layer, dtype, attention)
        for layer in backbone.layers
        if isinstance(layer, Layer)
    )
    for name, head in twin.heads.items():
        twin.heads[name] = _with_casts(head.children(), dtype, written_out)
    return twin.eval().requires_grad_(False)


class MixedLayer(nn.Module):
    """Transformer layer with a float32 residual stream and half precision products."""

    def __init__(self, layer: Layer, dtype: torch.dtype, attention: _Attention) -> None:
        """Take over the parts of `layer` and bring its weights to `dtype`."""
        super().__init__()
        self.heads, self.dtype, self.attention = layer.heads, dtype, attention
        self.norm1, self.norm2 = layer.norm1, layer.norm2
        self.qkv, self.proj = layer.qkv.to(dtype), layer.proj.to(dtype)
        self.fc1, self.fc2 = layer.fc1.to(dtype), layer.fc2.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens (B, N, C) float32 of the same shape and type."""
        batch, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x).to(self.dtype))
        qkv = qkv.view(batch, tokens, 3, self.heads, HEAD_CHANNELS)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, N, 64) each
        attended = self.attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width)
        x = x + self.proj(attended).float()
        hidden = F.gelu(self.fc1(self.norm2(x).to(self.dtype)))
        y: Tensor = x + self.fc2(hidden).float()
        return y


class Cast(nn.Module):
    """Change the type of what passes."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` in the type that this cast gives."""
        return x.to(self.dtype)


def _fused_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend with torch's own kernel, which sums in float32 whatever its input is."""
    return F.scaled_dot_product_attention(q, k, v)


def _attention_step_by_step(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend with the softmax in float32; (B, heads, N, 64) each."""
    scores = (q * HEAD_CHANNELS**-0.5) @ k.transpose(-2, -1)
    weights = scores.float().softmax(dim=-1).to(v.dtype)
    attended: Tensor = weights @ v
    return attended


class _PaddedAfterwards(nn.Module):
    """Transposed convolution whose output padding is appended: no input reaches it, only bias."""

    def __init__(self, step: nn.ConvTranspose2d) -> None:
        super().__init__()
        self.weight, self.bias, self.stride = step.weight, step.bias, step.stride
        rows, columns = step.output_padding
        self.padding = (0, columns, 0, rows)

    def forward(self, x: Tensor) -> Tensor:
        assert self.bias is not None
        y = F.conv_transpose2d(x, self.weight, None, self.stride)
        padded: Tensor = F.pad(y, self.padding) + self.bias[:, None, None]
        return padded


class StepwiseNorm(nn.Module):
    """LayerNorm over channels, rows and columns that sums one axis after the other.

    For the up to three million numbers of a head's volume. A plain running sum in float32, as some
    runtimes have it, loses three digits; and torch on CUDA gives a whole volume to one
    multiprocessor, which takes 4.8 ms on an H200 where this takes 0.1.
    """

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each of the volumes (B, C, H, W)."""
        centred = x - self._mean(x)
        normed: Tensor = centred * torch.rsqrt(self._mean(centred * centred) + self.eps)
        return normed * self.weight + self.bias

    @staticmethod
    def _mean(x: Tensor) -> Tensor:
        for axis in (3, 2, 1):
            x = x.mean(axis, keepdim=True)
        return x


_PRODUCTS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def _with_casts(
    steps: Iterable[nn.Module], dtype: torch.dtype, written_out: bool
) -> nn.Sequential:
    """Return steps with products in `dtype`, normalisations and the end in float32."""
    cast: list[nn.Module] = []
    for step in steps:
        if isinstance(step, nn.ConvTranspose2d) and written_out:
            # TensorRT has no transposed convolution in bfloat16.
            held = torch.float32 if dtype == torch.bfloat16 else dtype
            padded = step.output_padding[0] > int(step.padding[0])
            cast += [Cast(held), (_PaddedAfterwards(step) if padded else step).to(held)]
        elif isinstance(step, _PRODUCTS):
            cast += [Cast(dtype), step.to(dtype)]
        elif isinstance(step, nn.LayerNorm | StepwiseNorm):
            cast += [Cast(torch.float32), step]
        else:
            cast.append(step)
    return nn.Sequential(*cast, Cast(torch.float32))


def _twin(model: TheiaModel) -> TheiaModel:
    """Return a model of its own modules that shares the numbers of `model`."""
    with torch.device('meta'):
        twin = TheiaModel(model.config)
    twin.load_state_dict(model.state_dict(), strict=True, assign=True)
    twin.register_buffer('normalised', model.get_buffer('normalised'), persistent=False)
    return twin.eval().requires_grad_(False)
