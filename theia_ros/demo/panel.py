"""Labelled panels of pictures side by side, as one picture and as a video."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np
from PIL import Image
from PIL import ImageDraw
from PIL import ImageFont

from theia_ros.demo.sources import Rgb

TILE_WH = (480, 360)
_LABEL_PX = 28
_GAP_PX = 4
_INK, _PAPER = (235, 235, 235), (24, 24, 27)


def row(tiles: Mapping[str, Rgb]) -> Rgb:
    """Return pictures side by side, each below its label.

    Args:
        tiles: (H, W, 3) each, by label; they are fitted into tiles of one size.
    """
    width, height = TILE_WH
    sheet = Image.new(
        'RGB', (len(tiles) * (width + _GAP_PX) - _GAP_PX, _LABEL_PX + height), _PAPER
    )
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=17)
    for i, (label, rgb) in enumerate(tiles.items()):
        x = i * (width + _GAP_PX)
        draw.text((x + 6, 4), label, fill=_INK, font=font)
        picture = Image.fromarray(rgb)
        picture.thumbnail(TILE_WH)
        if picture.width < width and picture.height < height:
            scale = min(width / picture.width, height / picture.height)
            picture = picture.resize((round(picture.width * scale), round(picture.height * scale)))
        left, top = (width - picture.width) // 2, (height - picture.height) // 2
        sheet.paste(picture, (x + left, _LABEL_PX + top))
    return np.asarray(sheet)


def beside(rows: Sequence[Rgb]) -> Rgb:
    """Return rows of one height beside each other."""
    gap = np.full((rows[0].shape[0], 4 * _GAP_PX, 3), _PAPER, np.uint8)
    return _joined(rows, gap, axis=1)


def stack(rows: Sequence[Rgb]) -> Rgb:
    """Return rows of one width below each other."""
    gap = np.full((_GAP_PX, rows[0].shape[1], 3), _PAPER, np.uint8)
    return _joined(rows, gap, axis=0)


def _joined(rows: Sequence[Rgb], gap: Rgb, axis: int) -> Rgb:
    parts = [part for r in rows for part in (r, gap)]
    return np.concatenate(parts[:-1], axis=axis)


class Video:
    """An H.264 file whose frames are shown at the times that they are given with."""

    def __init__(self, path: Path) -> None:
        """Begin a file; use it as a context manager."""
        import av

        self._path = path
        self._container = av.open(str(path), 'w')
        self._stream = None
        self._start_ns: int | None = None
        self._shown_ms = -1

    def add(self, rgb: Rgb, stamp_ns: int) -> None:
        """Add a frame, (H, W, 3) with the size of the first, shown at `stamp_ns`.

        One that is not a millisecond later than the last, as when the clock was set, is left out.
        """
        import av

        if self._stream is None:
            height, width = rgb.shape[0] // 2 * 2, rgb.shape[1] // 2 * 2  # H.264 wants even sides
            stream = self._container.add_stream('libx264', rate=30)
            stream.width, stream.height, stream.pix_fmt = width, height, 'yuv420p'
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
            stream.options = {'preset': 'ultrafast', 'crf': '20'}
            self._stream, self._start_ns = stream, stamp_ns
        shown_ms = (stamp_ns - self._start_ns) // 1_000_000
        if shown_ms <= self._shown_ms:
            return
        self._shown_ms = shown_ms
        picture = av.VideoFrame.from_ndarray(
            np.ascontiguousarray(rgb[: self._stream.height, : self._stream.width]), 'rgb24'
        )
        picture.pts = shown_ms
        picture.time_base = Fraction(1, 1000)
        self._container.mux(self._stream.encode(picture))

    def __enter__(self) -> Video:
        """Return the video itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the file; one without frames is removed."""
        if self._stream:
            self._container.mux(self._stream.encode(None))
        self._container.close()
        if not self._stream:
            self._path.unlink(missing_ok=True)
