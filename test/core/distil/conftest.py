"""Small pictures, videos with truth, and runs that take seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import synthetic
from PIL import Image

RULE = synthetic.golden_rule


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
    cv2 = pytest.importorskip('cv2')
    path = tmp_path_factory.mktemp('clips') / 'square.mp4'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 2.0, (128, 96))
    assert writer.isOpened()
    depth_mm, labels = np.full((12, 48, 64), 3000, np.uint16), np.zeros((12, 48, 64), np.uint8)
    for i in range(12):
        rgb = np.full((96, 128, 3), (40, 60, 40), np.uint8)
        rgb[20:60, 8 * i : 8 * i + 32] = (220, 180, 60)
        depth_mm[i, 10:30, 4 * i : 4 * i + 16] = 1000
        labels[i, 10:30, 4 * i : 4 * i + 16] = 3
        writer.write(rgb[..., ::-1].copy())
    writer.release()
    np.savez(
        path.with_name('square_truth.npz'),
        frame_index=np.arange(12, dtype=np.int32),
        depth_mm=depth_mm,
        labels=labels,
    )
    path.with_suffix('.json').write_text('{"classes": ["ground", "a", "b", "square"]}')
    return path
