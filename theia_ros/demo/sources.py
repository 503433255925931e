"""Pictures for the demo camera: photographs and a clip of a robot arm, a video file, a device."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from theia_ros.errors import ParameterError

CLIP = Path(__file__).parent / 'data' / 'panda_table.mp4'
PHOTOGRAPHS = ('astronaut', 'coffee', 'chelsea', 'rocket')
PHOTOGRAPH_S = 2.0
_ZOOM = 0.8
"""Part of a photograph that is seen at the end of its move."""

Rgb = NDArray[np.uint8]
"""A picture, (H, W, 3)."""


def pictures(size_wh: tuple[int, int], rate_hz: float) -> Iterator[Rgb]:
    """Give the photographs of scikit-image, slowly moved, and the clip, over and over.

    Args:
        size_wh: Columns and rows.
        rate_hz: Pictures of a second.
    """
    from skimage import data

    count = round(PHOTOGRAPH_S * rate_hz)
    for _ in itertools.count():
        for name in PHOTOGRAPHS[:2]:
            yield from _moved(Image.fromarray(getattr(data, name)()), size_wh, count)
        yield from _frames(_capture(str(CLIP)), size_wh)
        for name in PHOTOGRAPHS[2:]:
            yield from _moved(Image.fromarray(getattr(data, name)()), size_wh, count)


def video(path: Path, size_wh: tuple[int, int]) -> Iterator[Rgb]:
    """Give the frames of a video file, over and over.

    Raises:
        ParameterError: It cannot be read.
    """
    if not path.is_file():
        raise ParameterError(f'{path}: no such video file')
    while True:
        frames = _frames(_capture(str(path)), size_wh)
        first = next(frames, None)
        if first is None:
            raise ParameterError(f'{path}: OpenCV reads no frame; expected a video file')
        yield first
        yield from frames


def device(number: int, size_wh: tuple[int, int]) -> Iterator[Rgb]:
    """Give the frames of a camera of this computer.

    Raises:
        ParameterError: There is no such camera, or it gives no picture any more.
    """
    yield from _frames(_capture(number), size_wh)
    raise ParameterError(f'camera device {number} gives no picture; see ls /dev/video*')


def _capture(source: str | int) -> Any:
    import cv2

    return cv2.VideoCapture(source)


def _frames(capture: Any, size_wh: tuple[int, int]) -> Iterator[Rgb]:
    import cv2

    try:
        while True:
            there, bgr = capture.read()
            if not there:
                return
            if bgr.shape[1::-1] != size_wh:
                bgr = cv2.resize(bgr, size_wh, interpolation=cv2.INTER_AREA)
            yield cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    finally:
        capture.release()


def _moved(photograph: Image.Image, size_wh: tuple[int, int], count: int) -> Iterator[Rgb]:
    """Move over a photograph while zooming in, as a camera on an arm might."""
    width, height = photograph.size
    aspect = size_wh[0] / size_wh[1]
    largest = min(width, height * aspect)
    for i in range(count):
        passed = i / max(count - 1, 1)
        view_w = largest * (1 - (1 - _ZOOM) * passed)
        view_h = view_w / aspect
        # A little above the middle: heads are there.
        x, y = (width - view_w) * (0.3 + 0.4 * passed), (height - view_h) * 0.2
        box = (x, y, x + view_w, y + view_h)
        yield np.asarray(photograph.resize(size_wh, Image.Resampling.BILINEAR, box=box))
