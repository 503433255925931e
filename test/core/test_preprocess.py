from __future__ import annotations

import hashlib

import numpy as np
import pytest
from helpers import synthetic
from PIL import Image

from theia_ros.errors import FrameError
from theia_ros.preprocess import covered_region
from theia_ros.preprocess import NORMALISED
from theia_ros.preprocess import official
from theia_ros.preprocess import prepare

RULE = synthetic.golden_rule
GOLDENS = synthetic.goldens('preprocess')


@pytest.mark.parametrize('name', RULE.IMAGES_RESIZED)
def test_resized_pixels_are_those_of_the_published_code(name: str) -> None:
    pixels = official(RULE.image(name))
    np.testing.assert_array_equal(pixels, GOLDENS[f'{name}/u8'])
    values = NORMALISED[pixels].transpose(2, 0, 1)
    np.testing.assert_array_equal(values[:, ::16, ::16], GOLDENS[f'{name}/pixel_values_strided'])
    np.testing.assert_allclose(RULE.summary(values), GOLDENS[f'{name}/summary'], rtol=0, atol=1e-9)


@pytest.mark.parametrize('variant', ['default', 'no_resize'])
def test_pictures_of_the_right_size_keep_their_pixels(variant: str) -> None:
    picture = RULE.image('noise_224')
    preset = 'official' if variant == 'default' else 'native'
    pixels = prepare([picture], preset)
    np.testing.assert_array_equal(pixels[0], picture)
    values = NORMALISED[pixels[0]].transpose(2, 0, 1)
    np.testing.assert_array_equal(values[:, ::16, ::16], GOLDENS[f'noise_224/{variant}/strided'])


def test_normalised_values_span_minus_one_to_one_and_differ_from_the_short_formula() -> None:
    assert (NORMALISED[0], NORMALISED[255]) == (-1.0, 1.0)
    short = (np.arange(256, dtype=np.float32) - np.float32(127.5)) / np.float32(127.5)
    assert 0 < np.abs(NORMALISED - short).max() < 1e-6  # the same up to the last bits, not equal


def test_a_picture_that_is_not_contiguous_gives_the_same_pixels() -> None:
    picture = RULE.image('scene_480x640')
    flipped_twice = picture[:, :, ::-1].copy()[:, :, ::-1]
    np.testing.assert_array_equal(official(flipped_twice), official(picture))


def test_pictures_of_a_batch_keep_their_order_and_their_bytes() -> None:
    rng = np.random.default_rng(0)
    sizes = [(480, 640), (30, 40), (224, 224), (720, 1280), (300, 200), (100, 900)]
    pictures = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    batch = prepare(pictures, 'official')
    np.testing.assert_array_equal(batch, [official(picture) for picture in pictures])


def test_a_result_outlives_the_next_pictures_of_any_size() -> None:
    rng = np.random.default_rng(1)
    shapes = [(48, 64), (48, 64), (90, 30), (48, 64), (224, 300), (300, 224)]
    pictures = [rng.integers(0, 256, (*hw, 3), np.uint8) for hw in shapes]
    kept = [official(picture) for picture in pictures]
    for pixels, picture in zip(kept, pictures, strict=True):
        first = Image.fromarray(picture).resize((224, picture.shape[0]), Image.Resampling.BILINEAR)
        alone = np.asarray(first.resize((224, 224), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(pixels, alone)


def test_tall_pictures_have_the_bytes_of_pillow_12() -> None:
    """Pillow 13 resizes them in another order, and a quarter of the bytes would differ by one."""
    tall = np.random.default_rng(0).integers(0, 256, (640, 100, 3), np.uint8)
    assert hashlib.sha256(official(tall).tobytes()).hexdigest()[:8] == '01501945'


def test_a_corner_stays_in_its_corner() -> None:
    picture = np.zeros((60, 100, 3), np.uint8)
    picture[:20, -25:, 0] = 255
    pixels = official(picture)
    assert (pixels[10, 214] == [255, 0, 0]).all()
    assert not pixels[:, :160].any()
    assert not pixels[90:].any()


def test_native_names_a_size_that_fits() -> None:
    with pytest.raises(FrameError, match=r'multiples of 16, found 100x50; 96x48 fits') as caught:
        prepare([np.zeros((50, 100, 3), np.uint8)], 'native')
    assert caught.value.reason == 'size'


def test_native_wants_one_size_in_a_batch() -> None:
    pictures = [np.zeros((32, 48, 3), np.uint8), np.zeros((48, 32, 3), np.uint8)]
    with pytest.raises(FrameError, match=r'one size, found \[\(32, 48\), \(48, 32\)\]'):
        prepare(pictures, 'native')


@pytest.mark.parametrize(
    ('image_hw', 'view', 'expected'),
    [
        pytest.param((480, 640), 1.0, (0, 0, 640, 480), id='whole'),
        pytest.param((224, 224), 196 / 224, (14, 14, 196, 196), id='dinov2-square'),
        pytest.param((480, 640), 196 / 224, (40, 30, 560, 420), id='dinov2-vga'),
        pytest.param((3, 5), 196 / 224, (0, 0, 5, 3), id='dinov2-tiny'),
    ],
)
def test_covered_region_is_centred(image_hw, view, expected) -> None:
    region = covered_region(image_hw, view)
    assert (region.x_px, region.y_px, region.width_px, region.height_px) == expected
