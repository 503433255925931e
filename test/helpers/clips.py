"""Videos with truth, as a simulator gives them: a bright square moves over a dark ground."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

FPS = 2.0
CLASSES = ('ground', 'a', 'b', 'square')
SQUARE = CLASSES.index('square')


def write(path: Path, corners: Sequence[tuple[int, int]], size_hw: tuple[int, int]) -> Path:
    """Write a video of 96 x 128 pixels, and beside it its truth, of 48 x 64, and its classes.

    Args:
        path: Of the video.
        corners: Row and column of the square in each frame of the truth.
        size_hw: Of the square, which is 1 m away; the ground is 3 m away.
    """
    cv2 = pytest.importorskip('cv2')
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), FPS, (128, 96))
    assert writer.isOpened()
    depth_mm = np.full((len(corners), 48, 64), 3000, np.uint16)
    labels = np.zeros((len(corners), 48, 64), np.uint8)
    for i, (y, x) in enumerate(corners):
        square = np.s_[y : y + size_hw[0], x : x + size_hw[1]]
        depth_mm[i][square], labels[i][square] = 1000, SQUARE
        bright = (labels[i] == SQUARE).repeat(2, axis=0).repeat(2, axis=1)[..., None]
        rgb = np.where(bright, (220, 180, 60), (40, 60, 40)).astype(np.uint8)
        writer.write(rgb[..., ::-1].copy())
    writer.release()
    frames = np.arange(len(corners), dtype=np.int32)
    truth = {'frame_index': frames, 'depth_mm': depth_mm, 'labels': labels}
    np.savez(path.with_name(f'{path.stem}_truth.npz'), **truth)
    path.with_suffix('.json').write_text(json.dumps({'classes': CLASSES}))
    return path
