"""Messages to records and back, with known pixels."""

from __future__ import annotations

import array
import io
import struct
import sys
import types
import zlib

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from PIL import Image as Picture
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from theia_msgs.msg import EncoderInfo
from theia_msgs.msg import FeatureTensor

from theia_ros import conversions
from theia_ros import raw_images
from theia_ros.datatypes import DecodedMap
from theia_ros.datatypes import Features
from theia_ros.datatypes import Provenance
from theia_ros.datatypes import Recipe
from theia_ros.datatypes import Region
from theia_ros.datatypes import TensorInfo
from theia_ros.errors import FrameError
from theia_ros.timing import Spread

pytestmark = pytest.mark.needs_ros

# (2, 3) pixels, no two alike, so that a turned, mirrored or colour-swapped picture shows.
RGB = np.array(
    [[[250, 1, 2], [10, 20, 30], [40, 50, 60]], [[70, 80, 90], [100, 110, 120], [130, 140, 150]]],
    np.uint8,
)
GREY = RGB[..., 0]
ORANGE = (220, 120, 40)


def image(encoding, pixels, padding=0, **changes):
    """A message of (H, W, bytes of a pixel) or (H, bytes of a row), rows padded with 0xEE."""
    rows = pixels.reshape(len(pixels), -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=0xEE)
    fields = {
        'header': Header(stamp=Time(sec=7, nanosec=9), frame_id='front_optical'),
        'height': pixels.shape[0],
        'width': pixels.shape[1],
        'encoding': encoding,
        'step': padded.shape[1],
        'data': array.array('B', padded.tobytes()),
    }
    return Image(**{**fields, **changes})


def compressed(data, fmt='jpeg'):
    return CompressedImage(
        header=Header(stamp=Time(sec=7, nanosec=9), frame_id='front_optical'),
        format=fmt,
        data=array.array('B', data),
    )


def encoded(picture, fmt, **options):
    file = io.BytesIO()
    picture.save(file, fmt, **options)
    return file.getvalue()


def refusal(msg):
    read = (
        conversions.frame_from_compressed
        if isinstance(msg, CompressedImage)
        else conversions.frame_from_image
    )
    with pytest.raises(FrameError) as info:
        read(msg)
    assert '\n' not in str(info.value)
    return info.value.reason, str(info.value)


def with_alpha(rgb):
    return np.concatenate([rgb, np.full((*rgb.shape[:2], 1), 77, np.uint8)], axis=2)


# --- raw images ------------------------------------------------------------------------------

COLOURS = [
    pytest.param('rgb8', RGB, id='rgb8'),
    pytest.param('bgr8', RGB[..., ::-1], id='bgr8'),
    pytest.param('8UC3', RGB[..., ::-1], id='8UC3-is-bgr'),
    pytest.param('rgba8', with_alpha(RGB), id='rgba8'),
    pytest.param('bgra8', with_alpha(RGB[..., ::-1]), id='bgra8'),
    pytest.param('8UC4', with_alpha(RGB[..., ::-1]), id='8UC4-is-bgra'),
]


@pytest.mark.parametrize('padding', [pytest.param(0, id='packed'), pytest.param(5, id='padded')])
@pytest.mark.parametrize(('encoding', 'pixels'), COLOURS)
def test_colours(encoding, pixels, padding):
    frame = conversions.frame_from_image(image(encoding, pixels, padding))

    assert frame.image_hw == (2, 3)
    np.testing.assert_array_equal(frame.rgb, RGB)


@pytest.mark.parametrize('padding', [pytest.param(0, id='packed'), pytest.param(5, id='padded')])
@pytest.mark.parametrize('encoding', ['mono8', '8UC1'])
def test_grey(encoding, padding):
    frame = conversions.frame_from_image(image(encoding, GREY[..., None], padding))

    np.testing.assert_array_equal(frame.rgb, np.repeat(GREY[..., None], 3, axis=2))


@pytest.mark.parametrize('padding', [pytest.param(0, id='packed'), pytest.param(5, id='padded')])
@pytest.mark.parametrize(
    ('order', 'is_bigendian'),
    [pytest.param('<u2', 0, id='little-endian'), pytest.param('>u2', 1, id='big-endian')],
)
def test_mono16_keeps_the_high_byte(order, is_bigendian, padding):
    values = (GREY.astype(np.uint16) << 8) + 0xCD
    raw = values.astype(order).view(np.uint8).reshape(2, 3, 2)

    frame = conversions.frame_from_image(image('mono16', raw, padding, is_bigendian=is_bigendian))

    np.testing.assert_array_equal(frame.rgb, np.repeat(GREY[..., None], 3, axis=2))


@pytest.mark.parametrize(
    'pattern',
    [
        pytest.param('rggb', id='bayer-rggb'),
        pytest.param('bggr', id='bayer-bggr'),
        pytest.param('gbrg', id='bayer-gbrg'),
        pytest.param('grbg', id='bayer-grbg'),
    ],
)
@pytest.mark.parametrize('padding', [pytest.param(0, id='packed'), pytest.param(3, id='padded')])
def test_bayer_of_one_colour_is_that_colour(pattern, padding):
    tile = np.array([ORANGE['rgb'.index(letter)] for letter in pattern], np.uint8).reshape(2, 2)
    mosaic = np.tile(tile, (4, 6))  # (8, 12)

    frame = conversions.frame_from_image(image(f'bayer_{pattern}8', mosaic[..., None], padding))

    assert frame.image_hw == (8, 12)
    np.testing.assert_array_equal(frame.rgb, np.broadcast_to(ORANGE, (8, 12, 3)))


def yuv(rgb):
    """BT.601 in limited range, as cameras send it."""
    r, g, b = (c / 255 for c in rgb)
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    return (
        round(16 + 219 * luma),
        round(128 + 224 * 0.564 * (b - luma)),
        round(128 + 224 * 0.713 * (r - luma)),
    )


Y, U, V = yuv(ORANGE)


@pytest.mark.parametrize(
    ('encoding', 'pair'),
    [
        pytest.param('yuv422', (U, Y, V, Y), id='yuv422-is-uyvy'),
        pytest.param('uyvy', (U, Y, V, Y), id='uyvy'),
        pytest.param('yuv422_yuy2', (Y, U, Y, V), id='yuv422-yuy2-is-yuyv'),
        pytest.param('yuyv', (Y, U, Y, V), id='yuyv'),
    ],
)
@pytest.mark.parametrize('padding', [pytest.param(0, id='packed'), pytest.param(6, id='padded')])
def test_yuv422_of_one_colour_is_that_colour(encoding, pair, padding):
    pixels = np.tile(np.array(pair, np.uint8), (3, 2)).reshape(3, 4, 2)

    frame = conversions.frame_from_image(image(encoding, pixels, padding))

    assert frame.image_hw == (3, 4)
    np.testing.assert_allclose(frame.rgb, np.broadcast_to(ORANGE, (3, 4, 3)), atol=3)


@pytest.mark.parametrize('encoding', ['yuv422', 'yuv422_yuy2', 'nv12', 'nv21'])
def test_yuv_keeps_its_corner(encoding):
    luma = np.full((4, 6), 40, np.uint8)
    luma[0, 5] = 235  # upper right, white as the chroma is neutral
    if encoding.startswith('nv'):
        pixels = np.concatenate([luma, np.full((2, 6), 128, np.uint8)])
    else:
        pair = [np.full_like(luma, 128), luma]
        pixels = np.stack(pair if encoding == 'yuv422' else pair[::-1], axis=2)

    rgb = conversions.frame_from_image(image(encoding, pixels, height=4)).rgb

    assert rgb.shape == (4, 6, 3)
    assert np.argwhere(rgb.min(axis=2) > 200).tolist() == [[0, 5]]


@pytest.mark.parametrize(
    ('encoding', 'chroma'),
    [pytest.param('nv12', (U, V), id='nv12'), pytest.param('nv21', (V, U), id='nv21')],
)
@pytest.mark.parametrize('padding', [pytest.param(0, id='packed'), pytest.param(6, id='padded')])
def test_planes_of_one_colour_are_that_colour(encoding, chroma, padding):
    luma = np.full((4, 6), Y, np.uint8)
    planes = np.concatenate([luma, np.tile(np.array(chroma, np.uint8), (2, 3))])

    frame = conversions.frame_from_image(image(encoding, planes, padding, height=4))

    assert frame.image_hw == (4, 6)
    np.testing.assert_allclose(frame.rgb, np.broadcast_to(ORANGE, (4, 6, 3)), atol=3)


def test_every_encoding_is_tested_above():
    tested = {p.values[0] for p in COLOURS}
    tested |= {'mono8', '8UC1', 'mono16', 'yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv', 'nv12', 'nv21'}
    tested |= {f'bayer_{pattern}8' for pattern in ('rggb', 'bggr', 'gbrg', 'grbg')}

    assert tested == set(raw_images.ENCODINGS)


def test_last_row_may_lack_its_padding():
    msg = image('rgb8', RGB, padding=5)
    msg.data = msg.data[:-5]

    np.testing.assert_array_equal(conversions.frame_from_image(msg).rgb, RGB)


def test_surplus_bytes_are_ignored():
    msg = image('rgb8', RGB)
    msg.data.extend([0xEE] * 100)

    np.testing.assert_array_equal(conversions.frame_from_image(msg).rgb, RGB)


@pytest.mark.parametrize(
    ('encoding', 'pixels', 'padding'),
    [
        pytest.param('rgb8', RGB, 0, id='rgb8'),
        pytest.param('rgb8', RGB, 5, id='rgb8-padded'),
    ],
)
def test_pixels_are_not_copied_where_the_layout_allows(encoding, pixels, padding):
    msg = image(encoding, pixels, padding)

    rgb = conversions.frame_from_image(msg).rgb

    assert np.shares_memory(rgb, np.frombuffer(msg.data, np.uint8))
    assert not rgb.flags.writeable


@pytest.mark.parametrize(
    ('encoding', 'pixels'),
    [*COLOURS, pytest.param('mono8', RGB[..., :1], id='mono8')],
)
def test_pixels_are_together(encoding, pixels):
    """Else whatever reads them next has to collect them, which is slow."""
    assert conversions.frame_from_image(image(encoding, pixels)).rgb.flags.c_contiguous


@pytest.mark.parametrize(('encoding', 'pixels'), [p for p in COLOURS if p.values[0] != 'rgb8'])
def test_message_is_left_as_it_was(encoding, pixels):
    msg = image(encoding, pixels)
    before = msg.data[:]

    conversions.frame_from_image(msg)

    assert msg.data == before


@pytest.mark.parametrize('padding', [pytest.param(0, id='packed'), pytest.param(1, id='padded')])
@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'bgra8', 'mono8', 'mono16'])
@pytest.mark.parametrize(
    'size_hw',
    [
        pytest.param((1, 1), id='one-pixel'),
        pytest.param((1, 7), id='one-row'),
        pytest.param((7, 1), id='one-column'),
        pytest.param((3, 5), id='odd'),
    ],
)
def test_odd_sizes(encoding, size_hw, padding):
    pixel_bytes = {'rgb8': 3, 'bgr8': 3, 'bgra8': 4, 'mono16': 2}.get(encoding, 1)
    msg = image(encoding, np.full((*size_hw, pixel_bytes), 9, np.uint8), padding)

    frame = conversions.frame_from_image(msg)

    assert frame.image_hw == size_hw
    np.testing.assert_array_equal(frame.rgb, np.full((*size_hw, 3), 9, np.uint8))


@pytest.mark.parametrize('encoding', ['bayer_rggb8', 'bayer_bggr8', 'bayer_gbrg8', 'bayer_grbg8'])
def test_odd_bayer_sizes(encoding):
    frame = conversions.frame_from_image(image(encoding, np.full((3, 5, 1), 9, np.uint8)))

    np.testing.assert_array_equal(frame.rgb, np.full((3, 5, 3), 9, np.uint8))


@pytest.mark.parametrize(
    'size_hw',
    [
        pytest.param((1, 1), id='one-pixel'),
        pytest.param((2, 7), id='two-rows'),
        pytest.param((7, 2), id='two-columns'),
    ],
)
def test_bayer_without_neighbours_is_refused(size_hw):
    height, width = size_hw
    msg = image('bayer_rggb8', np.full((*size_hw, 1), 9, np.uint8))

    assert refusal(msg) == (
        'size',
        f'a Bayer pattern needs 3x3 pixels or more, found {width}x{height}',
    )


@pytest.mark.parametrize('encoding', ['yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv'])
def test_yuv422_with_half_a_pair_is_refused(encoding):
    reason, text = refusal(image(encoding, np.full((3, 5, 2), 128, np.uint8)))

    assert reason == 'size'
    assert '5' in text


@pytest.mark.parametrize('encoding', ['nv12', 'nv21'])
@pytest.mark.parametrize(
    'size_hw',
    [pytest.param((3, 4), id='odd-height'), pytest.param((4, 3), id='odd-width')],
)
def test_planes_with_odd_sides_are_refused(encoding, size_hw):
    height, width = size_hw
    msg = image(encoding, np.zeros((9, width), np.uint8), height=height)

    assert refusal(msg) == (
        'size',
        f'{encoding} needs even sides, found {width}x{height} pixels',
    )


def test_missing_opencv_is_told_with_the_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, 'cv2', None)

    reason, text = refusal(image('bayer_rggb8', np.zeros((4, 4, 1), np.uint8)))

    assert reason == 'opencv'
    assert 'install python3-opencv with apt, or opencv-python-headless with pip' in text


def test_smallest_yuv():
    grey = np.full((1, 2, 2), 128, np.uint8)
    planes = np.full((3, 2), 128, np.uint8)

    for encoding in ('yuv422', 'yuv422_yuy2'):
        rgb = conversions.frame_from_image(image(encoding, grey)).rgb
        np.testing.assert_array_equal(rgb, np.full((1, 2, 3), 130, np.uint8))
    for encoding in ('nv12', 'nv21'):
        rgb = conversions.frame_from_image(image(encoding, planes, height=2)).rgb
        np.testing.assert_array_equal(rgb, np.full((2, 2, 3), 130, np.uint8))


# --- lying messages ----------------------------------------------------------------------------


@pytest.mark.parametrize('encoding', ['rgb8', 'mono16', 'bayer_rggb8', 'yuv422', 'nv12'])
@pytest.mark.parametrize(
    'size_hw',
    [
        pytest.param((0, 0), id='no-pixels'),
        pytest.param((0, 4), id='no-rows'),
        pytest.param((4, 0), id='no-columns'),
    ],
)
def test_zero_size_is_refused(encoding, size_hw):
    height, width = size_hw
    msg = image(encoding, np.zeros((6, 12), np.uint8), height=height, width=width)

    assert refusal(msg) == ('size', f'the image has {width}x{height} pixels; expected some')


def test_short_data_are_refused():
    msg = image('rgb8', RGB)
    msg.data = msg.data[:-1]

    assert refusal(msg) == (
        'short',
        'data has 17 bytes; 3x2 pixels of rgb8 with step 9 need 18',
    )


def test_no_data_are_refused():
    assert refusal(image('mono8', GREY, data=array.array('B'))) == (
        'short',
        'data has 0 bytes; 3x2 pixels of mono8 with step 3 need 6',
    )


def test_short_chroma_is_refused():
    msg = image('nv12', np.zeros((6, 6), np.uint8), height=4)
    msg.data = msg.data[:30]

    assert refusal(msg)[0] == 'short'


@pytest.mark.parametrize(
    'step', [pytest.param(0, id='zero'), pytest.param(8, id='less-than-a-row')]
)
def test_small_step_is_refused(step):
    assert refusal(image('rgb8', RGB, step=step)) == (
        'step',
        f'step is {step} bytes; 3 pixels of rgb8 need 9',
    )


@pytest.mark.parametrize(
    'encoding', ['', 'RGB8', 'rgb16', 'bayer_rggb16', '32FC1', 'jpeg', 'rgb8; jpeg', '\n', '🙂']
)
def test_unknown_encoding_is_refused(encoding):
    reason, text = refusal(image(encoding, RGB))

    assert reason == 'encoding'
    assert text.startswith(f'encoding {encoding!r} is not supported; use rgb8, bgr8')


@pytest.mark.parametrize('encoding', ['rgb8', 'mono8', 'bayer_rggb8', 'yuv422', 'nv12'])
@pytest.mark.parametrize(
    ('height', 'width', 'step'),
    [
        pytest.param(2**32 - 2, 2**30, 2**32 - 1, id='everything'),
        pytest.param(2**32 - 2, 2, 6, id='height'),
        pytest.param(2, 2**30, 2**32 - 1, id='width'),
        pytest.param(2, 2, 2**32 - 1, id='step'),
    ],
)
def test_huge_claims_are_refused_without_taking_memory(encoding, height, width, step):
    msg = image(encoding, np.zeros((2, 6), np.uint8), height=height, width=width, step=step)

    assert refusal(msg)[0] in ('short', 'step')


# --- compressed images -------------------------------------------------------------------------


def marked():
    """(48, 80) pixels of grey with a red upper right corner."""
    rgb = np.full((48, 80, 3), 90, np.uint8)
    rgb[:16, 64:] = (220, 30, 20)
    return rgb


def test_jpeg():
    data = encoded(Picture.fromarray(marked()), 'JPEG', quality=95, subsampling=0)

    frame = conversions.frame_from_compressed(compressed(data))

    assert frame.rgb.shape == (48, 80, 3)
    np.testing.assert_allclose(frame.rgb.astype(int), marked(), atol=6)


@pytest.mark.parametrize('fmt', ['', 'png', 'rgb8; png compressed ', 'jpeg'])
def test_png_is_exact_whatever_the_format_field_says(fmt):
    frame = conversions.frame_from_compressed(
        compressed(encoded(Picture.fromarray(RGB), 'PNG'), fmt)
    )

    np.testing.assert_array_equal(frame.rgb, RGB)


@pytest.mark.parametrize(
    ('mode', 'expected'),
    [
        pytest.param('L', [77, 77, 77], id='grey'),
        pytest.param('LA', [77, 77, 77], id='grey-with-alpha'),
        pytest.param('RGBA', [77, 77, 77], id='alpha-is-dropped'),
        pytest.param('P', [77, 77, 77], id='palette'),
        pytest.param('1', [255, 255, 255], id='one-bit'),
    ],
)
def test_png_of_other_pixels(mode, expected):
    picture = Picture.new('RGB', (3, 2), (77, 77, 77))
    if mode == '1':
        picture = Picture.new('1', (3, 2), 1)

    converted = picture.convert(mode, palette=Picture.Palette.ADAPTIVE)

    frame = conversions.frame_from_compressed(compressed(encoded(converted, 'PNG')))

    assert frame.rgb.shape == (2, 3, 3)
    assert frame.rgb[1, 2].tolist() == expected


def test_png_with_16_bits_keeps_the_high_byte():
    values = (GREY.astype(np.uint16) << 8) + 0xCD

    frame = conversions.frame_from_compressed(
        compressed(encoded(Picture.fromarray(values), 'PNG'))
    )

    np.testing.assert_array_equal(frame.rgb, np.repeat(GREY[..., None], 3, axis=2))


def test_orientation_tag_is_not_applied():
    exif = Picture.Exif()
    exif[0x0112] = 6  # to be turned for display
    data = encoded(Picture.fromarray(marked()), 'JPEG', exif=exif)

    assert conversions.frame_from_compressed(compressed(data)).image_hw == (48, 80)


JPEG = encoded(Picture.fromarray(marked()), 'JPEG', quality=95)
PNG = encoded(Picture.fromarray(marked()), 'PNG')


@pytest.mark.parametrize(
    ('data', 'reason'),
    [
        pytest.param(b'', 'format', id='empty'),
        pytest.param(b'\0' * 1000, 'format', id='zeros'),
        pytest.param(b'this is no picture', 'format', id='text'),
        pytest.param(JPEG[1:], 'format', id='jpeg-without-its-first-byte'),
        pytest.param(JPEG[:2], 'format', id='jpeg-marker-only'),
        pytest.param(JPEG[:40], 'decode', id='jpeg-header-only'),
        pytest.param(JPEG[: len(JPEG) // 2], 'decode', id='half-a-jpeg'),
        pytest.param(PNG[: len(PNG) // 2], 'decode', id='half-a-png'),
        pytest.param(PNG[:8], 'format', id='png-signature-only'),
        pytest.param(PNG[:60] + b'\xff' * 8 + PNG[68:], 'decode', id='png-with-broken-bytes'),
        pytest.param(
            encoded(Picture.fromarray(marked()), 'GIF'), 'format', id='gif-is-no-camera-format'
        ),
        pytest.param(
            encoded(Picture.fromarray(marked()), 'BMP'), 'format', id='bmp-is-no-camera-format'
        ),
    ],
)
def test_broken_pictures_are_refused(data, reason):
    found, text = refusal(compressed(data))

    assert found == reason
    assert text.startswith(f'image of {len(data)} bytes')


def test_every_truncation_of_a_picture_is_refused():
    for whole in (JPEG, PNG):
        for length in range(0, len(whole) - 20, 7):
            assert refusal(compressed(whole[:length]))[0] in ('format', 'decode'), length


def test_bomb_is_refused():
    # A PNG header that claims 60000x60000 pixels, with the checksum that belongs to it.
    header = struct.pack('>IIBBBBB', 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b'IHDR' + header
    bomb = (
        b'\x89PNG\r\n\x1a\n'
        + struct.pack('>I', len(header))
        + chunk
        + struct.pack('>I', zlib.crc32(chunk))
        + PNG[33:]
    )

    reason, text = refusal(compressed(bomb))

    assert reason == 'decode'
    assert 'pixels' in text


# --- headers -----------------------------------------------------------------------------------

STAMPS = [
    pytest.param(0, 0, id='zero'),
    pytest.param(0, 999_999_999, id='below-one-second'),
    pytest.param(1_700_000_000, 1, id='a-nanosecond-that-a-double-loses'),
    pytest.param(2**31 - 1, 999_999_999, id='latest'),
    pytest.param(-1, 999_999_999, id='just-before-zero'),
    pytest.param(-(2**31), 0, id='earliest'),
]


@pytest.mark.parametrize(('sec', 'nanosec'), STAMPS)
@pytest.mark.parametrize(
    'frame_id', ['', 'camera_optical_frame', 'robot1/wrist', 'Kamera links ü']
)
def test_header_goes_round_unchanged(sec, nanosec, frame_id):
    header = Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id=frame_id)
    frame = conversions.frame_from_image(image('rgb8', RGB, header=header))

    assert frame.stamp_ns == sec * 10**9 + nanosec
    assert frame.frame_id == frame_id
    assert conversions.header_of(frame) == header


@pytest.mark.parametrize('sec', [5, 2**31 - 1])
def test_impossible_stamp_is_refused(sec):
    header = Header(stamp=Time(sec=sec, nanosec=1_000_000_000))

    assert refusal(image('rgb8', RGB, header=header)) == (
        'stamp',
        'stamp has 1000000000 nanoseconds; expected less than a second of them',
    )


# --- features ----------------------------------------------------------------------------------


def features(tokens, grid_hw=(2, 3), **changes):
    fields = {
        'name': 'dinov2',
        'tokens': tokens,
        'grid_hw': grid_hw,
        'region': Region(x_px=40, y_px=30, width_px=560, height_px=420),
        'stamp_ns': 7_000_000_009,
        'frame_id': 'front_optical',
    }
    return Features(**{**fields, **changes})


TOKENS = np.linspace(-3, 3, 24, dtype=np.float32).reshape(6, 4)


@pytest.mark.parametrize(
    ('dtype', 'constant', 'letter'),
    [
        pytest.param('float32', FeatureTensor.FLOAT32, 'f', id='float32'),
        pytest.param('float16', FeatureTensor.FLOAT16, 'e', id='float16'),
    ],
)
def test_features_as_message(dtype, constant, letter):
    msg = conversions.message_from_features(features(TOKENS), dtype, 'some-model', 'd1gest')

    assert msg.header == Header(stamp=Time(sec=7, nanosec=9), frame_id='front_optical')
    assert (msg.model, msg.name, msg.provenance) == ('some-model', 'dinov2', 'd1gest')
    assert msg.dtype == constant
    assert list(msg.shape) == [6, 4]
    assert (msg.grid_height, msg.grid_width) == (2, 3)
    region = msg.region
    assert (region.x_offset, region.y_offset, region.width, region.height) == (40, 30, 560, 420)
    assert region.do_rectify is False
    expected = struct.pack(f'<24{letter}', *TOKENS.flatten().tolist())
    assert msg.data.tobytes() == expected


@pytest.mark.parametrize('dtype', conversions.DTYPES)
def test_features_round_trip(dtype):
    msg = conversions.message_from_features(features(TOKENS), dtype, 'm', 'd')

    found = conversions.tokens_from_message(msg)

    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, TOKENS.astype(dtype))
    assert np.shares_memory(found, np.frombuffer(msg.data, np.uint8))


@pytest.mark.parametrize('dtype', conversions.DTYPES)
def test_features_in_any_memory_order(dtype):
    turned = np.asfortranarray(TOKENS)

    msg = conversions.message_from_features(features(turned), dtype, 'm', 'd')

    np.testing.assert_array_equal(conversions.tokens_from_message(msg), TOKENS.astype(dtype))


def test_pooled_features_have_no_grid():
    msg = conversions.message_from_features(features(TOKENS[:1], (0, 0)), 'float32', 'm', 'd')

    assert list(msg.shape) == [1, 4]
    assert (msg.grid_height, msg.grid_width) == (0, 0)


def test_numbers_beyond_float16_become_infinite_without_a_warning():
    tokens = np.array([[1e6, -1e6, 1e-9]], np.float32)

    msg = conversions.message_from_features(features(tokens, (1, 1)), 'float16', 'm', 'd')

    assert conversions.tokens_from_message(msg).tolist() == [[np.inf, -np.inf, 0.0]]


@pytest.mark.parametrize(
    ('changes', 'reason', 'text'),
    [
        pytest.param(
            {'dtype': FeatureTensor.BFLOAT16},
            'dtype',
            r'dtype 3 is not one of \[1, 2\]',
            id='numpy-has-no-bfloat16',
        ),
        pytest.param({'dtype': 0}, 'dtype', 'dtype 0 is not one of', id='unset-type'),
        pytest.param(
            {'shape': [6, 5]},
            'short',
            r'data has 96 bytes; shape \[6, 5\] needs 120',
            id='shape-too-large',
        ),
        pytest.param({'shape': [6, 3]}, 'short', 'needs 72', id='shape-too-small'),
        pytest.param({'shape': []}, 'short', 'needs 4', id='no-shape'),
        pytest.param({'data': array.array('B')}, 'short', 'data has 0 bytes', id='no-data'),
        pytest.param({'shape': [2**32 - 1] * 4}, 'short', 'needs', id='product-overflows'),
        pytest.param(
            {'shape': [2**32 - 1, 2**32 - 1, 0], 'data': array.array('B', b'1234')},
            'short',
            'needs 0',
            id='no-numbers-claimed',
        ),
    ],
)
def test_lying_features_are_refused(changes, reason, text):
    msg = conversions.message_from_features(features(TOKENS), 'float32', 'm', 'd')
    for name, value in changes.items():
        setattr(msg, name, value)

    with pytest.raises(FrameError, match=text) as info:
        conversions.tokens_from_message(msg)
    assert info.value.reason == reason


# --- maps --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('encoding', 'values', 'pixel_format'),
    [
        pytest.param('rgb8', RGB, '3B', id='rgb8'),
        pytest.param('32FC1', np.linspace(0, 1, 6).reshape(2, 3).astype('<f4'), 'f', id='32FC1'),
        pytest.param('32FC1', np.linspace(0, 1, 6).reshape(2, 3).astype('>f4'), 'f', id='swapped'),
        pytest.param('16UC1', np.arange(6).reshape(2, 3).astype('<u2') * 300, 'H', id='16UC1'),
    ],
)
def test_map_as_message(encoding, values, pixel_format):
    decoded = DecodedMap('depth/image', values, encoding, 7_000_000_009, 'front_optical')

    msg = conversions.message_from_map(decoded)

    assert msg.header == Header(stamp=Time(sec=7, nanosec=9), frame_id='front_optical')
    assert (msg.height, msg.width, msg.encoding) == (2, 3, encoding)
    pixel_bytes = struct.calcsize(f'<{pixel_format}')
    assert msg.step == 3 * pixel_bytes
    assert msg.is_bigendian == 0
    flat = [n for pixel in struct.iter_unpack(f'<{pixel_format}', msg.data) for n in pixel]
    assert flat == values.flatten().tolist()


def test_colour_map_is_an_image_like_any_other():
    msg = conversions.message_from_map(DecodedMap('dinov2/image', RGB, 'rgb8'))

    np.testing.assert_array_equal(conversions.frame_from_image(msg).rgb, RGB)


def test_map_cut_from_a_larger_one():
    large = np.arange(48, dtype=np.float32).reshape(6, 8)

    msg = conversions.message_from_map(DecodedMap('depth/image', large[1:3, 2:5], '32FC1'))

    assert np.frombuffer(msg.data, '<f4').tolist() == [10.0, 11.0, 12.0, 18.0, 19.0, 20.0]


# --- provenance --------------------------------------------------------------------------------

RECIPE = Recipe(
    weights_sha256='ab' * 32,
    code='3',
    preprocessing='official',
    reduction='none',
    token_layout='14x14 patches',
    backend='torch',
    precision='fp16',
)
PROVENANCE = Provenance(
    recipe=RECIPE,
    model='some-model',
    revision='r1',
    engine_fingerprint='f1',
    device='cuda:0 (some GPU)',
    versions={'torch': '2.13.0', 'numpy': '2.0'},
    tensors=(
        TensorInfo('theia', (196, 192), (14, 14)),
        TensorInfo('sam', (4096, 256), (64, 64), cosine=0.999, max_abs_error=0.25),
    ),
)


def test_provenance_as_message():
    topics = {'front': '/front/image_raw', 'wrist': '/wrist/image_raw/compressed'}

    msg = conversions.message_from_provenance(
        PROVENANCE, 'float16', Time(sec=7, nanosec=9), topics
    )

    assert isinstance(msg, EncoderInfo)
    assert msg.stamp == Time(sec=7, nanosec=9)
    assert (msg.model, msg.revision) == ('some-model', 'r1')
    assert msg.weights_sha256 == 'ab' * 32
    assert (msg.preprocessing, msg.reduction) == ('official', 'none')
    assert msg.token_layout == '14x14 patches'
    assert (msg.backend, msg.precision) == ('torch', 'fp16')
    assert (msg.engine_fingerprint, msg.device) == ('f1', 'cuda:0 (some GPU)')
    assert list(msg.versions) == ['torch=2.13.0', 'numpy=2.0']
    assert list(msg.cameras) == ['front', 'wrist']
    assert list(msg.image_topics) == ['/front/image_raw', '/wrist/image_raw/compressed']
    assert msg.digest == RECIPE.digest
    theia, sam = msg.tensors
    assert (theia.name, list(theia.shape)) == ('theia', [196, 192])
    assert (theia.grid_height, theia.grid_width) == (14, 14)
    assert theia.dtype == sam.dtype == FeatureTensor.FLOAT16
    assert np.isnan(theia.parity_cosine)
    assert np.isnan(theia.parity_max_abs_error)
    assert (sam.name, list(sam.shape)) == ('sam', [4096, 256])
    assert (sam.parity_cosine, sam.parity_max_abs_error) == (0.999, 0.25)


def test_packed_bytes_are_a_copy():
    values = np.arange(4, dtype=np.uint8)

    out = conversions.packed(values)
    values[0] = 99

    assert isinstance(out, array.array)
    assert out.tolist() == [0, 1, 2, 3]


class _CvBridge:
    """Stands in for the real one, which knows encodings that we do not."""

    def imgmsg_to_cv2(self, msg, desired_encoding):
        assert desired_encoding == 'rgb8'
        if msg.encoding == 'rgb16':
            return np.full((msg.height, msg.width, 3), 7, np.uint8)
        raise RuntimeError(f'Unrecognized image encoding [{msg.encoding}]')


def test_cv_bridge_is_asked_for_encodings_that_we_do_not_know(monkeypatch):
    monkeypatch.setitem(sys.modules, 'cv_bridge', types.SimpleNamespace(CvBridge=_CvBridge))
    msg = Image(encoding='rgb16', height=2, width=3, step=18, data=bytes(36))
    frame = conversions.frame_from_image(msg)
    assert frame.rgb.shape == (2, 3, 3)
    assert (frame.rgb == 7).all()
    msg.encoding = 'hsv'
    with pytest.raises(FrameError, match=r"'hsv' is not supported; use rgb8, .*Unrecognized"):
        conversions.frame_from_image(msg)


@pytest.mark.parametrize(
    'error',
    [
        ImportError('numpy.core.multiarray failed to import'),
        SystemError('initialization of _bridge failed'),
    ],
)
def test_a_broken_cv_bridge_costs_only_what_it_is_asked_for(monkeypatch, error):
    class Broken:
        def __getattr__(self, name):
            raise error

    monkeypatch.setitem(sys.modules, 'cv_bridge', Broken())
    with pytest.raises(FrameError, match=f'cv_bridge: .*{error}') as caught:
        conversions.frame_from_image(Image(encoding='rgb16', height=2, width=3, step=18))
    assert caught.value.reason == 'encoding'
    good = Image(encoding='mono8', height=1, width=1, step=1, data=bytes([9]))
    assert conversions.frame_from_image(good).rgb.tolist() == [[[9, 9, 9]]]


def test_calibration_of_a_map():
    info = CameraInfo(
        header=Header(frame_id='lens'),
        height=480,
        width=640,
        distortion_model='plumb_bob',
        d=[0.1, 0.2, 0.0, 0.0, 0.0],
        k=[600.0, 0.0, 319.5, 0.0, 600.0, 239.5, 0.0, 0.0, 1.0],
        p=[600.0, 0.0, 319.5, -60.0, 0.0, 600.0, 239.5, 0.0, 0.0, 0.0, 1.0, 0.0],
    )
    decoded = DecodedMap('depth/image', np.zeros((240, 320), np.float32), '32FC1', 5, 'lens')
    scaled = conversions.info_from_map(info, decoded)
    assert (scaled.height, scaled.width, scaled.header.stamp.nanosec) == (240, 320, 5)
    assert scaled.header.frame_id == 'lens'
    assert (scaled.distortion_model, list(scaled.d)) == ('plumb_bob', [0.1, 0.2, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(scaled.k, [300, 0, 159.5, 0, 300, 119.5, 0, 0, 1])
    np.testing.assert_allclose(scaled.p, [300, 0, 159.5, -30, 0, 300, 119.5, 0, 0, 0, 1, 0])


def test_a_camera_without_calibration_has_none():
    decoded = DecodedMap('depth/image', np.zeros((240, 320), np.float32), '32FC1')
    scaled = conversions.info_from_map(CameraInfo(), decoded)
    assert (scaled.height, scaled.width) == (240, 320)
    assert not any(scaled.k)
    assert not any(scaled.p)


def test_latencies_name_camera_and_step():
    spreads = {
        'compute': Spread(3, 1.0, 2.0, 3.0, 4.0),
        'front/stamp_to_publish': Spread(1, 5.0, 5.0, 5.0, 5.0),
    }
    msg = conversions.message_from_latencies(spreads, Time(sec=7))
    assert msg.header.stamp.sec == 7
    assert [(s.camera, s.step, s.count) for s in msg.steps] == [
        ('', 'compute', 3),
        ('front', 'stamp_to_publish', 1),
    ]
    first = msg.steps[0]
    assert (first.p50_ms, first.p95_ms, first.p99_ms, first.max_ms) == (1.0, 2.0, 3.0, 4.0)
