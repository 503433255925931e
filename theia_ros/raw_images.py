"""Raw images, as in sensor_msgs/Image, to pixels."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from theia_ros.errors import FrameError

Pixels = NDArray[np.uint8]


class RawImage(Protocol):
    """Fields of sensor_msgs/Image, whoever read the message."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


def _cv2() -> Any:
    try:
        import cv2
    except ImportError as exc:
        raise FrameError(
            'opencv',
            f'this encoding needs OpenCV ({exc}); install python3-opencv with apt, or '
            'opencv-python-headless with pip',
        ) from exc
    return cv2


def _channels(*order: int) -> Callable[[Pixels, bool], Pixels]:
    """Return a reader that takes red, green and blue from these channels."""

    def read(pixels: Pixels, _: bool) -> Pixels:
        if order == (0, 1, 2) and pixels.shape[2] == 3:
            return pixels
        # Indexing with the order itself would make planes, which are slow to interleave later.
        rgb = np.empty((*pixels.shape[:2], 3), np.uint8)
        for colour, channel in enumerate(order):
            rgb[..., colour] = pixels[..., channel]
        return rgb

    return read


def _mono16(pixels: Pixels, is_bigendian: bool) -> Pixels:
    # The high byte: the picture at 8 bits, whatever the byte order of the camera.
    high = 0 if is_bigendian else 1
    return _channels(high, high, high)(pixels, is_bigendian)


def _opencv(code: str) -> Callable[[Pixels, bool], Pixels]:
    """Return a reader that lets OpenCV's `cvtColor` do it."""

    def read(pixels: Pixels, _: bool) -> Pixels:
        cv2 = _cv2()
        try:
            rgb: Pixels = cv2.cvtColor(np.ascontiguousarray(pixels), getattr(cv2, code))
        except cv2.error as exc:
            raise FrameError('size', f'OpenCV {code}: {exc.err} ({pixels.shape} pixels)') from exc
        return rgb

    return read


def _bayer(code: str) -> Callable[[Pixels, bool], Pixels]:
    """Return a reader that lets OpenCV interpolate the colours."""
    demosaic = _opencv(code)

    def read(pixels: Pixels, is_bigendian: bool) -> Pixels:
        height, width = pixels.shape[:2]
        if height < 3 or width < 3:  # OpenCV returns black for these
            raise FrameError(
                'size', f'a Bayer pattern needs 3x3 pixels or more, found {width}x{height}'
            )
        return demosaic(pixels, is_bigendian)

    return read


# Bytes of a pixel, and how (H, W, bytes) becomes (H, W, 3) with red first.
# OpenCV names a Bayer pattern by its second row and column, ROS by its first.
_RAW: Mapping[str, tuple[int, Callable[[Pixels, bool], Pixels]]] = {
    'rgb8': (3, _channels(0, 1, 2)),
    'bgr8': (3, _channels(2, 1, 0)),
    '8UC3': (3, _channels(2, 1, 0)),  # as OpenCV keeps colours
    'rgba8': (4, _channels(0, 1, 2)),
    'bgra8': (4, _channels(2, 1, 0)),
    '8UC4': (4, _channels(2, 1, 0)),
    'mono8': (1, _channels(0, 0, 0)),
    '8UC1': (1, _channels(0, 0, 0)),
    'mono16': (2, _mono16),
    'bayer_rggb8': (1, _bayer('COLOR_BayerBG2RGB')),
    'bayer_bggr8': (1, _bayer('COLOR_BayerRG2RGB')),
    'bayer_gbrg8': (1, _bayer('COLOR_BayerGR2RGB')),
    'bayer_grbg8': (1, _bayer('COLOR_BayerGB2RGB')),
    'yuv422': (2, _opencv('COLOR_YUV2RGB_UYVY')),
    'uyvy': (2, _opencv('COLOR_YUV2RGB_UYVY')),
    'yuv422_yuy2': (2, _opencv('COLOR_YUV2RGB_YUY2')),
    'yuyv': (2, _opencv('COLOR_YUV2RGB_YUY2')),
}
# A plane of luma, then half as many rows of interleaved chroma.
_PLANAR: Mapping[str, Callable[[Pixels, bool], Pixels]] = {
    'nv12': _opencv('COLOR_YUV2RGB_NV12'),
    'nv21': _opencv('COLOR_YUV2RGB_NV21'),
}
ENCODINGS = (*_RAW, *_PLANAR)
"""Of raw images, as far as they can be read."""


def decode_raw(msg: RawImage) -> Pixels:
    """Return the pixels of a raw image as (H, W, 3) uint8, red first.

    Those of `rgb8` are not copied. Padded rows and both byte orders are honoured;
    16-bit pictures keep their high byte.

    Raises:
        FrameError: The encoding is not known, or the message does not hold what it says.
    """
    if msg.encoding in _RAW:
        pixel_bytes, read = _RAW[msg.encoding]
        rows = _rows(msg, msg.height, msg.width * pixel_bytes)
        pixels = rows.reshape(msg.height, msg.width, pixel_bytes)
    elif msg.encoding in _PLANAR:
        if msg.width % 2 or msg.height % 2:
            raise FrameError(
                'size', f'{msg.encoding} needs even sides, found {msg.width}x{msg.height} pixels'
            )
        pixels, read = _rows(msg, msg.height * 3 // 2, msg.width), _PLANAR[msg.encoding]
    else:
        return _by_cv_bridge(msg)
    return read(pixels, bool(msg.is_bigendian))


def _by_cv_bridge(msg: RawImage) -> Pixels:
    """Let cv_bridge read an encoding that we do not know, where there is one that works."""
    try:
        from cv_bridge import CvBridge

        rgb: Pixels = CvBridge().imgmsg_to_cv2(msg, 'rgb8')
    except Exception as exc:  # absent, built for another numpy, or it does not know it either
        raise FrameError(
            'encoding',
            f'encoding {msg.encoding!r} is not supported; use {", ".join(ENCODINGS)} '
            f'(cv_bridge: {str(exc) or type(exc).__name__})',
        ) from exc
    return rgb


def _rows(msg: RawImage, height: int, row_bytes: int) -> Pixels:
    """Return the rows of an image without their padding, (height, row_bytes)."""
    if not height or not row_bytes:
        raise FrameError('size', f'the image has {msg.width}x{msg.height} pixels; expected some')
    if msg.step < row_bytes:
        raise FrameError(
            'step',
            f'step is {msg.step} bytes; {msg.width} pixels of {msg.encoding} need {row_bytes}',
        )
    data = np.frombuffer(msg.data, np.uint8)
    needed = (height - 1) * msg.step + row_bytes  # some drivers leave out the last padding
    if data.size < needed:
        raise FrameError(
            'short',
            f'data has {data.size} bytes; {msg.width}x{msg.height} pixels of {msg.encoding} with '
            f'step {msg.step} need {needed}',
        )
    return np.lib.stride_tricks.as_strided(
        data, (height, row_bytes), (msg.step, 1), writeable=False
    )
