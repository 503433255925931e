"""How good a model is on pictures that it did not see, beside linear maps that cost nothing.

Three of them are fitted in closed form to the same targets, and judged in the same way: from
the tokens of the model's backbone, from those of a backbone that was never trained, and from the
bare pixels of each patch. The lead of the first over the others is what training has brought.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from theia_ros.catalog import CLASSES
from theia_ros.catalog import PATCH_PX
from theia_ros.catalog import TARGETS
from theia_ros.distil.config import DistilConfig
from theia_ros.distil.data import Progress
from theia_ros.distil.metrics import Metric
from theia_ros.distil.metrics import metric_for
from theia_ros.distil.student import untrained
from theia_ros.distil.teachers import patch_tokens
from theia_ros.distil.train import Lessons
from theia_ros.distil.train import predict
from theia_ros.distil.truth import UNKNOWN
from theia_ros.model import GRID
from theia_ros.model import TheiaModel

HEADS = 'the model'
TRAINED, UNTRAINED, PIXELS = (
    'linear on its backbone',
    'linear on a random backbone',
    'linear on raw pixels',
)
FITTED_ON = 512
"""Most pictures that a linear map is fitted to, evenly picked."""
_RIDGE = 1e-3
_BATCH = 16

Table = dict[str, dict[str, float]]
Tokens = Callable[[NDArray[np.int64]], Tensor]
"""From pictures to what a linear map is given of each patch, (B, 196, C)."""


def evaluate(
    config: DistilConfig, lessons: Lessons, student: TheiaModel, progress: Progress
) -> Table:
    """Return the figures of the model and of each baseline, by row and then by name.

    Args:
        config: Of the run.
        lessons: Pictures and targets.
        student: Trained, on its device.
        progress: Is told of it.
    """
    student.eval()
    device = student.backbone.norm.weight.device
    random = untrained(config).to(device).eval()

    def pixels(pictures: NDArray[np.int64]) -> Tensor:
        return lessons.data.pixels(pictures).to(device)

    def trained(pictures: NDArray[np.int64]) -> Tensor:
        if lessons.tokens:
            return lessons.tokens.rows(pictures, device)
        return patch_tokens(student, pixels(pictures))

    inputs: Mapping[str, Tokens] = {
        TRAINED: trained,
        UNTRAINED: lambda pictures: patch_tokens(random, pixels(pictures)),
        PIXELS: lambda pictures: _patches(pixels(pictures)),
    }
    with torch.inference_mode():
        table = {HEADS: _judge_heads(lessons, student, progress)}
        for row, tokens in inputs.items():
            table[row] = _judge_linear(row, tokens, lessons, device, progress)
    return table


def as_markdown(table: Table) -> str:
    """Return the table for people."""
    names = list(next(iter(table.values())))
    lines = [f'| | {" | ".join(names)} |', '|---' * (1 + len(names)) + '|']
    lines += [
        f'| {row} | {" | ".join(f"{figures[name]:.3f}" for name in names)} |'
        for row, figures in table.items()
    ]
    return '\n'.join(lines) + '\n'


def _judge_heads(lessons: Lessons, student: TheiaModel, progress: Progress) -> dict[str, float]:
    metrics = _metrics(lessons)
    for pictures in _batches(lessons.held_out, HEADS, progress):
        inputs = lessons.inputs(pictures, student.backbone.norm.weight.device)
        for name, predicted in predict(student, inputs).items():
            metrics[name].add(predicted.cpu(), lessons.normalised(name, pictures))
    return _figures(metrics)


def _judge_linear(
    row: str, tokens: Tokens, lessons: Lessons, device: torch.device, progress: Progress
) -> dict[str, float]:
    step = max(1, -(-len(lessons.learned) // FITTED_ON))
    squares: dict[str, Tensor] = {}
    products: dict[str, Tensor] = {}
    for pictures in _batches(lessons.learned[::step], f'fitting {row}', progress):
        found = tokens(pictures)
        for name in lessons.targets:
            y, known = _to_fit(name, lessons.normalised(name, pictures, device))
            x = _on_grid(found, TARGETS[name].grid_hw).flatten(0, 1)[known]
            for sums, other in ((squares, x), (products, y[known])):
                product = (x.T @ other).double()
                sums[name] = sums[name] + product if name in sums else product
    maps = {name: _solve(squares[name], products[name]).float().to(device) for name in products}
    metrics = _metrics(lessons)
    for pictures in _batches(lessons.held_out, f'judging {row}', progress):
        found = tokens(pictures)
        for name, linear in maps.items():
            predicted = _on_grid(found, TARGETS[name].grid_hw) @ linear
            metrics[name].add(predicted.cpu(), lessons.normalised(name, pictures))
    return _figures(metrics)


def _solve(square: Tensor, product: Tensor) -> Tensor:
    """Return the linear map of least squares, held back a little (ridge regression)."""
    ridge = _RIDGE * square.diagonal().mean() * torch.eye(len(square)).to(square)
    linear: Tensor = torch.linalg.solve(square + ridge, product)
    return linear


def _to_fit(name: str, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return targets (M, C) that a linear map can be fitted to, and which of them are known."""
    rows = targets.flatten(0, 1)
    if name == 'classes':
        known = (rows != UNKNOWN).all(dim=1)
        one_hot = F.one_hot(torch.where(known[:, None], rows, 0).long(), CLASSES)  # (M, 16, 32)
        return one_hot.transpose(1, 2).flatten(1).float(), known
    return rows, rows.isfinite().all(dim=1)


def _on_grid(tokens: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """Return tokens (B, 196, C) on another grid, with a constant channel, (B, h * w, C + 1)."""
    grid = tokens.transpose(1, 2).reshape(len(tokens), -1, GRID, GRID)
    resized = F.interpolate(grid, grid_hw, mode='bilinear', align_corners=False)
    return F.pad(resized.flatten(2).transpose(1, 2), (0, 1), value=1.0)


def _patches(pixels: Tensor) -> Tensor:
    """Return the pixels (B, 224, 224, 3) of each patch, (B, 196, 768) in -1..1."""
    images = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
    return F.unfold(images, PATCH_PX, stride=PATCH_PX).transpose(1, 2)


def _metrics(lessons: Lessons) -> dict[str, Metric]:
    return {name: metric_for(name, lessons.stats.get(name)) for name in lessons.targets}


def _figures(metrics: Mapping[str, Metric]) -> dict[str, float]:
    found = {name: metric.figures() for name, metric in metrics.items()}
    return {f'{name} {kind}': value for name, f in found.items() for kind, value in f.items()}


def _batches(
    pictures: NDArray[np.int64], doing: str, progress: Progress
) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(pictures), _BATCH):
        progress(doing, start, len(pictures))
        yield pictures[start : start + _BATCH]
