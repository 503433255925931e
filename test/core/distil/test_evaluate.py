"""The linear maps that a model is compared with, on targets that one can say, and on noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from theia_ros.distil import evaluate as module
from theia_ros.distil import student
from theia_ros.distil.config import DistilConfig
from theia_ros.distil.data import Pictures
from theia_ros.distil.data import prepare
from theia_ros.distil.evaluate import as_markdown
from theia_ros.distil.evaluate import evaluate
from theia_ros.distil.sources import Reading
from theia_ros.distil.statistics import measure
from theia_ros.distil.teachers import collect
from theia_ros.distil.train import Lessons


class OfPixels:
    """Says a linear function of the pixels below each cell, or nothing but noise."""

    name, dtype, batch, shape = 'dinov2_small', torch.float32, 8, (256, 384)

    def __init__(self, linear: bool) -> None:
        self.identity = f'{linear}'
        self._linear = linear
        self._weights = torch.randn(3, 384, generator=torch.Generator().manual_seed(1))
        self._noise = torch.Generator().manual_seed(2)

    def targets(self, pictures: Pictures) -> torch.Tensor:
        if not self._linear:
            return torch.randn(len(pictures.pixels), *self.shape, generator=self._noise)
        images = pictures.pixels.permute(0, 3, 1, 2).float()
        # The mean colours of the student's patches, stretched as the baseline stretches them.
        means = torch.nn.functional.avg_pool2d(images, 16)
        means = torch.nn.functional.interpolate(means, (16, 16), mode='bilinear')
        return means.flatten(2).transpose(1, 2) @ self._weights


@pytest.fixture
def data(tmp_path: Path, silent):
    folder = tmp_path / 'smooth'
    folder.mkdir()
    for i in range(24):
        rng = np.random.default_rng(i)
        small = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8))
        small.resize((224, 224), Image.Resampling.BICUBIC).save(folder / f'{i:02}.png')
    return prepare([folder], [], Reading(), tmp_path / 'kept', silent)


def table_of(teacher, data, tmp_path, silent):
    config = DistilConfig(('dinov2_small',))
    targets = {'dinov2_small': collect(teacher, data, tmp_path / 'kept', silent)}
    learned, held_out = np.arange(20), np.arange(20, 24)
    stats = {n: measure(n, t, learned, silent) for n, t in targets.items()}
    lessons = Lessons(data, learned, held_out, targets, stats, None)
    return evaluate(config, lessons, student.make(config), silent)


def test_what_pixels_say_is_had_from_pixels(data, tmp_path, silent) -> None:
    table = table_of(OfPixels(linear=True), data, tmp_path, silent)
    assert list(table) == [
        module.HEADS,
        module.TRAINED,
        module.UNTRAINED,
        module.PIXELS,
    ]
    cosine = {row: figures['dinov2_small cosine'] for row, figures in table.items()}
    assert cosine[module.PIXELS] > 0.99
    assert abs(cosine[module.HEADS]) < 0.3  # it has learned nothing


def test_noise_is_had_from_nothing(data, tmp_path, silent) -> None:
    """Also not from pictures that were fitted to: the held-out ones are others."""
    table = table_of(OfPixels(linear=False), data, tmp_path, silent)
    assert all(abs(f['dinov2_small cosine']) < 0.05 for f in table.values())


def test_the_linear_map_is_that_of_least_squares() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 6, dtype=torch.double, generator=generator)
    linear = torch.randn(6, 2, dtype=torch.double, generator=generator)
    found = module._solve(x.T @ x, x.T @ (x @ linear))
    torch.testing.assert_close(found, linear, rtol=0, atol=5e-3)


def test_the_table_is_markdown() -> None:
    table = {'one': {'a b': 0.5, 'c': float('nan')}, 'two': {'a b': 1.0, 'c': 0.12345}}
    assert as_markdown(table) == (
        '| | a b | c |\n|---|---|---|\n| one | 0.500 | nan |\n| two | 1.000 | 0.123 |\n'
    )
