from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from helpers import synthetic
from PIL import Image

from theia_ros.errors import FrameError
from theia_ros.images import decode_rgb
from theia_ros.images import read_rgb

SCENE = synthetic.golden_rule.image('scene_96x128')


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def test_png_is_exact_from_memory_and_from_a_file(tmp_path: Path) -> None:
    data = encoded(Image.fromarray(SCENE), 'PNG')
    np.testing.assert_array_equal(decode_rgb(data), SCENE)
    (tmp_path / 'scene.png').write_bytes(data)
    np.testing.assert_array_equal(read_rgb(tmp_path / 'scene.png'), SCENE)


def test_jpeg_is_close() -> None:
    data = encoded(Image.fromarray(SCENE), 'JPEG', quality=95, subsampling=0)
    difference = decode_rgb(data).astype(int) - SCENE
    assert np.abs(difference).mean() < 3


def test_grey_palette_and_transparent_pictures_become_colour() -> None:
    picture = Image.fromarray(SCENE)
    grey = decode_rgb(encoded(picture.convert('L'), 'PNG'))
    assert grey.shape == SCENE.shape
    assert (grey[..., 0] == grey[..., 2]).all()
    rgba = picture.copy()
    rgba.putalpha(7)
    np.testing.assert_array_equal(decode_rgb(encoded(rgba, 'PNG')), SCENE)
    palette = decode_rgb(encoded(picture.quantize(8), 'PNG'))
    assert len(np.unique(palette.reshape(-1, 3), axis=0)) <= 8


def test_16_bit_grey_keeps_its_high_byte() -> None:
    values = np.array([[0x1234, 0xFF00]], np.uint16)
    rgb = decode_rgb(encoded(Image.fromarray(values), 'PNG'))
    assert rgb.tolist() == [[[0x12] * 3, [0xFF] * 3]]


@pytest.mark.parametrize('kind', ['PNG', 'TIFF'])
def test_grey_of_32_bits_is_that_of_a_png_in_older_pillows(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'grey'
    Image.fromarray(np.array([[0x1234]], np.uint16)).save(path, kind)
    opened = Image.open

    def as_before_11(file: Path, formats: object) -> Image.Image:
        image = opened(file)
        wide = image.convert('I')
        wide.format = image.format
        return wide

    monkeypatch.setattr(Image, 'open', as_before_11)
    if kind == 'PNG':
        assert read_rgb(path).tolist() == [[[0x12] * 3]]
    else:
        with pytest.raises(FrameError, match='has pixels of type I; expected 8 bits a channel'):
            read_rgb(path)


def test_an_orientation_tag_is_not_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    data = encoded(Image.fromarray(SCENE), 'JPEG', exif=exif)
    assert decode_rgb(data).shape == (96, 128, 3)


@pytest.mark.parametrize('kind', ['JPEG', 'PNG'])
@pytest.mark.parametrize('keep', [0.1, 0.5, 0.9])
def test_a_truncated_picture_is_refused(kind: str, keep: float) -> None:
    data = encoded(Image.fromarray(SCENE), kind)
    with pytest.raises(FrameError) as caught:
        decode_rgb(data[: int(len(data) * keep)])
    assert caught.value.reason in ('decode', 'format')
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('data', [b'', b'hello', b'\xff\xd8', bytes(1000)])
def test_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(FrameError, match=f'image of {len(data)} bytes is no image') as caught:
        decode_rgb(data)
    assert caught.value.reason == 'format'


def test_other_formats_are_files_only(tmp_path: Path) -> None:
    data = encoded(Image.fromarray(SCENE), 'BMP')
    with pytest.raises(FrameError, match='expected JPEG or PNG'):
        decode_rgb(data)
    (tmp_path / 'scene.bmp').write_bytes(data)
    np.testing.assert_array_equal(read_rgb(tmp_path / 'scene.bmp'), SCENE)


def test_float_pictures_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / 'depth.tiff')
    with pytest.raises(FrameError, match='pixels of type F; expected 8 bits') as caught:
        read_rgb(tmp_path / 'depth.tiff')
    assert caught.value.reason == 'depth'


def test_a_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    with pytest.raises(FrameError, match='cannot be decoded'):
        decode_rgb(encoded(Image.fromarray(SCENE), 'PNG'))


@pytest.mark.parametrize(
    ('width_px', 'height_px', 'padding'),
    [
        pytest.param(8193, 8192, 10_000, id='than-any-camera-has'),
        pytest.param(3000, 3000, 0, id='than-the-bytes-can-hold'),
    ],
)
def test_a_header_that_claims_more_pixels_is_refused(width_px, height_px, padding) -> None:
    data = bytearray(encoded(Image.fromarray(SCENE[:1, :1]), 'PNG')) + bytes(padding)
    data[16:24] = struct.pack('>II', width_px, height_px)
    data[29:33] = struct.pack('>I', zlib.crc32(data[12:29]))
    with pytest.raises(FrameError, match=f'claims {width_px}x{height_px} pixels; too') as caught:
        decode_rgb(data)
    assert caught.value.reason == 'size'
