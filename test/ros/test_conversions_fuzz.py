"""Messages of any content become a frame of the right size, or a FrameError, and nothing else.

The default run tries some two thousand messages, `scripts/test --all` more than 10^5.
"""

from __future__ import annotations

import array
import contextlib
import io
import math
import struct
import subprocess
import sys
import zlib
from unittest import mock

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies as st
from PIL import Image as Picture
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image
from sensor_msgs.msg import RegionOfInterest
from std_msgs.msg import Header
from theia_msgs.msg import FeatureTensor

from theia_ros import conversions
from theia_ros import raw_images
from theia_ros.datatypes import DecodedMap
from theia_ros.errors import FrameError

try:
    from numpy.lib.array_utils import byte_bounds
except ImportError:  # numpy 1
    from numpy import byte_bounds

# Pillow warns of what it forgives, such as a broken EXIF block.
pytestmark = [pytest.mark.needs_ros, pytest.mark.filterwarnings('ignore::UserWarning:PIL')]

UINT32 = st.integers(0, 2**32 - 1)
REASONS = {'encoding', 'opencv', 'size', 'step', 'short', 'stamp', 'format', 'depth', 'decode'}
BYTES_OF_PIXEL = {
    **dict.fromkeys(('rgb8', 'bgr8', '8UC3'), 3),
    **dict.fromkeys(('rgba8', 'bgra8', '8UC4'), 4),
    **dict.fromkeys(('mono16', 'yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv'), 2),
}
"""As sensor_msgs/image_encodings has them; 1 for all others."""


def fuzz(strategy, few, many):
    """Make two tests of a property: with some examples, and with many of them."""

    def decorate(check):
        def at(count):
            @given(strategy)
            def run(example):
                check(example)

            return settings(
                max_examples=count,
                deadline=None,
                database=None,
                derandomize=count == few,
                suppress_health_check=list(HealthCheck),
            )(run)

        return at(few), pytest.mark.slow(at(many))

    return decorate


@contextlib.contextmanager
def no_read_out_of_bounds():
    """Let every view that is made with strides lie within the memory that it is made of."""
    as_strided = np.lib.stride_tricks.as_strided

    def checked(x, *args, **kwargs):
        view = as_strided(x, *args, **kwargs)
        (low, high), (from_, to) = byte_bounds(view), byte_bounds(x)
        assert from_ <= low <= high <= to, f'{view.shape} {view.strides} of {x.shape}'
        return view

    with mock.patch.object(np.lib.stride_tricks, 'as_strided', checked):
        yield


def value_or_refusal(read, msg):
    """Return what is read and None, or None and the error that refuses the message."""
    try:
        with no_read_out_of_bounds():
            return read(msg), None
    except FrameError as exc:
        return None, exc


def frame_of(read, msg):
    """Return the frame, or None where the message was refused in a proper way."""
    frame, refusal = value_or_refusal(read, msg)
    if refusal:
        assert refusal.reason in REASONS
        assert_one_line(refusal)
    return frame


def assert_one_line(refusal):
    assert str(refusal)
    assert len(str(refusal).splitlines()) == 1


def test_reading_out_of_bounds_would_be_seen():
    four = np.zeros(4, np.uint8)
    with no_read_out_of_bounds():
        np.lib.stride_tricks.as_strided(four, (2, 2), (2, 1))
        with pytest.raises(AssertionError, match=r'\(2, 3\)'):
            np.lib.stride_tricks.as_strided(four, (2, 3), (2, 1))


# --- raw images ----------------------------------------------------------------------------------


@st.composite
def images(draw):
    """Images whose numbers fit each other, nearly fit, or have nothing to do with each other."""
    encoding = draw(st.sampled_from(raw_images.ENCODINGS) | st.text(max_size=9))
    side = st.integers(0, 9) | st.integers(0, 600) | UINT32
    height, width = draw(side), draw(side)
    row = width * BYTES_OF_PIXEL.get(encoding, 1)
    near = st.integers(0, 5) | st.integers(-5, 5)
    step = draw(near.map(lambda d: min(max(0, row + d), 2**32 - 1)) | UINT32)
    rows = height * 3 // 2 if encoding in ('nv12', 'nv21') else height
    fits = min(rows * step, 1 << 21)
    size = draw(near.map(lambda d: max(0, fits + d)) | st.integers(0, 300))
    seed = draw(st.binary(min_size=1, max_size=16))
    data = array.array('B', (seed * (size // len(seed) + 1))[:size])
    stamp = Time(sec=draw(st.integers(-(2**31), 2**31 - 1)), nanosec=draw(st.just(0) | UINT32))
    return Image(
        header=Header(stamp=stamp, frame_id=draw(st.text(max_size=5))),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=draw(st.integers(0, 255)),
        step=step,
        data=data,
    )


def first_pixel(msg):
    """Return the upper left pixel of encodings that hold it in so many words."""
    first = (*msg.data[:3], 0, 0)[:3]
    channels = {
        **dict.fromkeys(('rgb8', 'rgba8'), (0, 1, 2)),
        **dict.fromkeys(('bgr8', 'bgra8', '8UC3', '8UC4'), (2, 1, 0)),
        **dict.fromkeys(('mono8', '8UC1'), (0, 0, 0)),
        'mono16': (0, 0, 0) if msg.is_bigendian else (1, 1, 1),
    }.get(msg.encoding)
    return channels and [first[i] for i in channels]


@fuzz(images(), 600, 60_000)
def image_property(msg):
    frame = frame_of(conversions.frame_from_image, msg)
    if frame is None:
        return
    assert frame.image_hw == (msg.height, msg.width)
    assert conversions.header_of(frame) == msg.header
    data = np.frombuffer(msg.data, np.uint8)
    if np.may_share_memory(frame.rgb, data):
        (low, high), (from_, to) = byte_bounds(frame.rgb), byte_bounds(data)
        assert from_ <= low <= high <= to
    expected = first_pixel(msg)
    assert expected is None or frame.rgb[0, 0].tolist() == expected
    int(frame.rgb.sum())  # every byte can be read


test_any_image, test_very_many_images = image_property


# --- compressed images ---------------------------------------------------------------------------


def samples():
    rng = np.random.default_rng(5)
    colours = Picture.fromarray(rng.integers(0, 256, (24, 40, 3), np.uint8))
    for fmt, mode, options in (
        ('JPEG', 'RGB', {}),
        ('JPEG', 'RGB', {'progressive': True, 'optimize': True}),
        ('JPEG', 'RGB', {'subsampling': 0, 'restart_marker_blocks': 2}),
        ('JPEG', 'L', {}),
        ('JPEG', 'CMYK', {}),
        ('PNG', 'RGB', {}),
        ('PNG', 'RGBA', {}),
        ('PNG', 'LA', {}),
        ('PNG', 'L', {}),
        ('PNG', '1', {}),
        ('PNG', 'P', {'transparency': 3}),
        ('PNG', 'I;16', {}),
    ):
        file = io.BytesIO()
        colours.convert('L' if mode == 'I;16' else mode).convert(mode).save(file, fmt, **options)
        yield file.getvalue()


SAMPLES = list(samples())


@st.composite
def mutated(draw):
    """Bytes of an image in which something is set, cut, repeated, or left out."""
    data = bytearray(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, min(len(data), 80)) | st.integers(0, len(data)))
        kind = draw(st.sampled_from(('set', 'size', 'cut', 'insert', 'truncate', 'repeat')))
        if kind == 'set':
            data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif kind == 'size':
            data[at : at + 4] = struct.pack('>I', draw(UINT32))
        elif kind == 'cut':
            del data[at : at + draw(st.integers(1, 40))]
        elif kind == 'insert':
            data[at:at] = draw(st.binary(max_size=20))
        elif kind == 'truncate':
            del data[at:]
        else:
            data[at:at] = data[at : at + draw(st.integers(1, 60))]
    # Else the check sums of PNG would stop nearly all of them at the door.
    return with_checksums(bytes(data)) if draw(st.booleans()) else bytes(data)


def with_checksums(png):
    """Return a PNG whose chunks have the check sums of what they hold, as far as there are any."""
    if not png.startswith(b'\x89PNG\r\n\x1a\n'):
        return png
    out, at = bytearray(png[:8]), 8
    while at + 12 <= len(png):
        (length,) = struct.unpack('>I', png[at : at + 4])
        body = png[at + 4 : at + 8 + length]
        if at + 12 + length > len(png):
            break
        out += png[at : at + 4] + body + struct.pack('>I', zlib.crc32(body))
        at += 12 + length
    return bytes(out + png[at:])


def compressed(data):
    header = Header(stamp=Time(sec=7, nanosec=9), frame_id='front_optical')
    return CompressedImage(header=header, format='jpeg', data=array.array('B', data))


@fuzz(mutated(), 500, 40_000)
def compressed_property(data):
    msg = compressed(data)
    frame = frame_of(conversions.frame_from_compressed, msg)
    if frame is None:
        return
    with Picture.open(io.BytesIO(data)) as picture:
        assert frame.image_hw == picture.size[::-1]
    assert conversions.header_of(frame) == msg.header
    int(frame.rgb.sum())


test_any_compressed_image, test_very_many_compressed_images = compressed_property


@pytest.mark.parametrize('data', SAMPLES, ids=range(len(SAMPLES)))
def test_samples_are_images_until_they_are_mutated(data):
    assert conversions.frame_from_compressed(compressed(data)).image_hw == (24, 40)
    assert with_checksums(data) == data


def png_header(width_px, height_px, depth=8, kind=2, interlaced=0):
    """Return a PNG of any size that holds next to nothing."""
    body = b'IHDR' + struct.pack('>IIBBBBB', width_px, height_px, depth, kind, 0, 0, interlaced)
    rows = b'IDAT' + zlib.compress(bytes(1000))
    chunks = (
        struct.pack('>I', len(c) - 4) + c + struct.pack('>I', zlib.crc32(c)) for c in (body, rows)
    )
    return b'\x89PNG\r\n\x1a\n' + b''.join(chunks)


def jpeg_header(width_px, height_px):
    """Return a JPEG that claims another size."""
    data = SAMPLES[0]
    at = data.index(b'\xff\xc0') + 5
    return data[:at] + struct.pack('>HH', height_px, width_px) + data[at + 4 :]


LIES = [
    pytest.param(png_header(2**31 - 1, 2**31 - 1), id='png-of-4e18-pixels'),
    pytest.param(png_header(40_000, 40_000), id='png-of-1600-megapixels'),
    pytest.param(png_header(13_000, 13_000), id='png-of-169-megapixels'),
    pytest.param(png_header(13_000, 13_000, interlaced=1), id='interlaced-png'),
    pytest.param(png_header(13_000, 13_000, depth=16, kind=0), id='png-of-16-bits'),
    pytest.param(png_header(8_000, 8_000), id='png-of-64-megapixels'),
    pytest.param(png_header(1, 2**31 - 1), id='png-of-one-column'),
    pytest.param(png_header(8_500, 8_500) + bytes(30_000), id='png-of-72-megapixels-and-30-kB'),
    pytest.param(jpeg_header(65_500, 65_500), id='jpeg-of-4290-megapixels'),
    pytest.param(jpeg_header(13_000, 13_000), id='jpeg-of-169-megapixels'),
    pytest.param(jpeg_header(8_000, 8_000), id='jpeg-of-64-megapixels'),
]

MEASURE = """
import resource, sys
from theia_ros.errors import FrameError
from theia_ros.images import decode_rgb
data = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode_rgb(data)
except FrameError as exc:
    print(exc.reason)
else:
    print('taken')
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize('data', LIES)
def test_few_bytes_that_claim_many_pixels_cost_little(data):
    done = subprocess.run(
        [sys.executable, '-W', 'error', '-c', MEASURE], input=data, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    reason, grown_kb = done.stdout.decode().split()
    assert reason in ('size', 'decode', 'short')
    assert int(grown_kb) < 50_000


# --- features and calibrations -------------------------------------------------------------------


@st.composite
def tensors(draw):
    """Features whose shape, type and data fit each other, or nearly, or not at all."""
    few = st.lists(st.integers(0, 4), max_size=4)
    shape = draw(few | st.lists(UINT32, max_size=5) | st.lists(st.integers(0, 2), max_size=80))
    dtype = draw(st.sampled_from((1, 2)) | st.integers(0, 255))
    fits = math.prod(shape) * {1: 4, 2: 2}.get(dtype, 1)
    size = draw(st.just(min(fits, 4096)) | st.integers(0, 300))
    return FeatureTensor(
        dtype=dtype, shape=shape, data=array.array('B', draw(st.binary(max_size=8)) * size)[:size]
    )


@fuzz(tensors(), 500, 20_000)
def features_property(msg):
    values, refusal = value_or_refusal(conversions.tokens_from_message, msg)
    if refusal:
        assert refusal.reason in ('dtype', 'short', 'shape')
        assert_one_line(refusal)
        return
    assert values.shape == tuple(msg.shape)
    assert values.dtype == {1: '<f4', 2: '<f2'}[msg.dtype]
    assert values.tobytes() == msg.data.tobytes()


test_any_features, test_very_many_features = features_property


@pytest.mark.parametrize(
    ('shape', 'reason'),
    [
        pytest.param([2**16] * 4, 'short', id='product-is-0-in-64-bits'),
        pytest.param([0, *[2**32 - 1] * 3], 'shape', id='empty-and-endless'),
        pytest.param([1] * 33, 'shape', id='many-axes'),
        pytest.param([2**32 - 1] * 5000, 'shape', id='product-too-long-to-print'),
    ],
)
def test_shapes_that_numpy_cannot_have(shape, reason):
    with pytest.raises(FrameError, match='shape') as info:
        conversions.tokens_from_message(FeatureTensor(dtype=FeatureTensor.FLOAT32, shape=shape))
    assert info.value.reason == reason


NUMBERS = st.floats()


@st.composite
def calibrations(draw):
    """Calibrations of any content."""
    return CameraInfo(
        height=draw(UINT32),
        width=draw(UINT32),
        distortion_model=draw(st.text(max_size=9)),
        d=draw(st.lists(NUMBERS, max_size=9)),
        k=draw(st.lists(NUMBERS, min_size=9, max_size=9)),
        r=draw(st.lists(NUMBERS, min_size=9, max_size=9)),
        p=draw(st.lists(NUMBERS, min_size=12, max_size=12)),
        roi=RegionOfInterest(
            x_offset=draw(UINT32),
            y_offset=draw(UINT32),
            height=draw(UINT32 | st.just(0)),
            width=draw(UINT32 | st.just(0)),
        ),
    )


@fuzz(st.tuples(calibrations(), st.integers(1, 9), st.integers(1, 9)), 400, 20_000)
def calibration_property(case):
    info, height, width = case
    decoded = DecodedMap('depth/image', np.zeros((height, width), np.float32), '32FC1', 7, 'front')

    scaled = conversions.info_from_map(info, decoded)

    assert (scaled.height, scaled.width) == (height, width)
    assert scaled.header == Header(stamp=Time(sec=0, nanosec=7), frame_id='front')
    assert scaled.distortion_model == info.distortion_model
    np.testing.assert_array_equal(scaled.d, info.d)
    np.testing.assert_array_equal(scaled.r, info.r)
    source_hw = info.height, info.width
    if info.roi.height and info.roi.width:
        source_hw = info.roi.height, info.roi.width
    if not all(source_hw):
        assert not np.any(scaled.k)
        assert not np.any(scaled.p)
    elif np.isfinite(info.k).all() and info.k[6] == 0:
        assert scaled.k[0] == pytest.approx(info.k[0] * (width / source_hw[1]))


test_any_calibration, test_very_many_calibrations = calibration_property
