"""Small pictures, videos with truth, and runs that take seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import clips
from PIL import Image


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    """Here they are wanted, other than in the tests beside."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def silent():
    """Somebody to tell the progress to."""
    return lambda doing, done, total: None


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / 'photos'
    folder.mkdir()
    for i in range(6):
        pixels = np.random.default_rng(i).integers(0, 256, (12 + i, 16, 3), np.uint8)
        Image.fromarray(pixels).resize((64, 48)).save(folder / f'{i}.png')
    return folder


@pytest.fixture(scope='session')
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video with truth: a bright square, class 3 and near, moves over a dark and far ground."""
    path = tmp_path_factory.mktemp('clips') / 'square.mp4'
    return clips.write(path, [(10, 4 * i) for i in range(12)], (20, 16))
