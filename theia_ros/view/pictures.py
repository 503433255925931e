"""Messages to what a browser can show: small JPEG, or PNG where there are few colours."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sensor_msgs.msg import CompressedImage
from theia_msgs.msg import FeatureTensor

from theia_ros.conversions import frame_from_compressed
from theia_ros.conversions import frame_from_image
from theia_ros.conversions import tokens_from_message
from theia_ros.errors import FrameError

_QUALITY = 85
_GRID_WIDTH_PX = 320
# From dark violet over red to light yellow, even in brightness: values 0..1 and their colours.
_RAMP = np.array(
    [[8, 6, 38], [82, 20, 108], [165, 44, 96], [229, 92, 48], [252, 180, 60], [252, 252, 180]]
)


@dataclass(frozen=True)
class Picture:
    """What a browser is sent of a message.

    Attributes:
        data: An encoded picture.
        type: MIME type of it.
        size_wh: Columns and rows, pixels.
        note: More about it, for people; may be empty.
    """

    data: bytes
    type: str
    size_wh: tuple[int, int]
    note: str = ''


def picture_of(msg: Any, width_px: int) -> Picture:
    """Return the picture of an image, or of the norms of features.

    Args:
        msg: Image, CompressedImage or FeatureTensor.
        width_px: Columns at most; wider ones are made smaller.

    Raises:
        FrameError: It has none that can be used.
    """
    if isinstance(msg, FeatureTensor):
        return _norms(msg)
    if isinstance(msg, CompressedImage):
        return _compressed(msg, width_px)
    return _jpeg(Image.fromarray(np.ascontiguousarray(frame_from_image(msg).rgb)), width_px)


def _compressed(msg: CompressedImage, width_px: int) -> Picture:
    """Hand a small JPEG or PNG on as it is; it was looked at, and is one."""
    rgb = frame_from_compressed(msg).rgb
    height, width = rgb.shape[:2]
    if width > width_px:
        return _jpeg(Image.fromarray(rgb), width_px)
    data = bytes(msg.data)
    return Picture(data, 'image/jpeg' if data[:2] == b'\xff\xd8' else 'image/png', (width, height))


def _jpeg(image: Image.Image, width_px: int) -> Picture:
    image.thumbnail((width_px, image.height), Image.Resampling.BILINEAR)
    file = io.BytesIO()
    image.save(file, 'JPEG', quality=_QUALITY)
    return Picture(file.getvalue(), 'image/jpeg', image.size)


def _norms(msg: FeatureTensor) -> Picture:
    """Return the length of each token, in the place that it has in the camera's picture."""
    tokens = tokens_from_message(msg)
    if tokens.ndim != 2:
        raise FrameError('shape', f'shape {list(msg.shape)}; expected [tokens, channels]')
    norms = np.linalg.norm(tokens.astype(np.float64), axis=1)
    if not (norms.size and np.isfinite(norms).all()):
        raise FrameError('numbers', 'the features are not finite')
    low, high = float(norms.min()), float(norms.max())
    grid_hw = msg.grid_height, msg.grid_width
    if grid_hw[0] * grid_hw[1] != norms.size:
        grid_hw = 1, norms.size  # pooled, or with CLS
    unit = (norms - low) / (high - low) if high > low else np.zeros_like(norms)
    image = Image.fromarray(_ramp(unit).reshape(*grid_hw, 3))
    view_h, view_w = (msg.region.height, msg.region.width) if msg.grid_height else grid_hw
    height = round(_GRID_WIDTH_PX * (view_h or 3) / (view_w or 4))
    image = image.resize((_GRID_WIDTH_PX, max(height, 16)), Image.Resampling.NEAREST)
    file = io.BytesIO()
    image.save(file, 'PNG', compress_level=1)
    note = f'{low:.1f}' if low == high else f'{low:.1f} to {high:.1f}'
    return Picture(file.getvalue(), 'image/png', image.size, f'norm {note}')


def _ramp(unit: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return a colour for each value (N,) in 0..1, (N, 3)."""
    at = np.linspace(0, 1, len(_RAMP))
    return np.stack([np.interp(unit, at, _RAMP[:, c]) for c in range(3)], axis=1).astype(np.uint8)
