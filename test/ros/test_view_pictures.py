"""Messages as a browser is sent them."""

from __future__ import annotations

import array
import io

import numpy as np
import pytest
from helpers.ros_peer import image
from helpers.ros_peer import jpeg
from PIL import Image as Pillow
from sensor_msgs.msg import RegionOfInterest
from theia_msgs.msg import FeatureTensor

from theia_ros.errors import FrameError
from theia_ros.view.pictures import picture_of


def pixels(picture):
    with Pillow.open(io.BytesIO(picture.data)) as opened:
        assert opened.size == picture.size_wh
        assert Pillow.MIME[opened.format] == picture.type
        return np.asarray(opened.convert('RGB')).astype(int)


def halves(height=48, width=64):
    """A picture with a red left and a blue right half."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[:, : width // 2, 0] = rgb[:, width // 2 :, 2] = 200
    return rgb


def raw(rgb):
    height, width = rgb.shape[:2]
    data = array.array('B', rgb.tobytes())
    return image(size_hw=(height, width), data=data)


def encoded(rgb, kind):
    file = io.BytesIO()
    Pillow.fromarray(rgb).save(file, kind)
    return file.getvalue()


def features(tokens, grid_hw, region=(0, 0)):
    tokens = np.asarray(tokens, '<f4')
    return FeatureTensor(
        dtype=FeatureTensor.FLOAT32,
        shape=list(tokens.shape),
        grid_height=grid_hw[0],
        grid_width=grid_hw[1],
        region=RegionOfInterest(height=region[0], width=region[1]),
        data=array.array('B', tokens.tobytes()),
    )


def test_image_is_a_jpeg_of_it():
    found = pixels(picture_of(raw(halves()), 640))
    np.testing.assert_allclose(found[24, 10], (200, 0, 0), atol=12)
    np.testing.assert_allclose(found[24, 54], (0, 0, 200), atol=12)


@pytest.mark.parametrize('kind', ['raw', 'JPEG', 'PNG'])
def test_wide_pictures_are_made_smaller_in_their_aspect(kind):
    rgb = halves(300, 800)
    msg = raw(rgb) if kind == 'raw' else jpeg(encoded(rgb, kind))

    found = pixels(picture_of(msg, 200))
    assert found.shape == (75, 200, 3)
    np.testing.assert_allclose(found[40, 20], (200, 0, 0), atol=12)


def test_tall_pictures_keep_their_height():
    assert picture_of(raw(halves(400, 100)), 200).size_wh == (100, 400)


@pytest.mark.parametrize(('kind', 'type_'), [('JPEG', 'image/jpeg'), ('PNG', 'image/png')])
def test_small_compressed_images_are_handed_on_unchanged(kind, type_):
    data = encoded(halves(), kind)

    picture = picture_of(jpeg(data), 640)
    assert (picture.data, picture.type, picture.size_wh) == (data, type_, (64, 48))


def test_damaged_images_are_refused():
    with pytest.raises(FrameError, match='cannot be decoded'):
        picture_of(jpeg(encoded(halves(), 'JPEG')[:400]), 640)
    with pytest.raises(FrameError, match='expected JPEG or PNG'):
        picture_of(jpeg(b'<script>'), 640)
    with pytest.raises(FrameError, match='encoding'):
        picture_of(image(encoding='strange'), 640)


def test_norms_stand_where_their_tokens_do():
    tokens = np.ones((6, 4))
    tokens[1] = 3  # norm 6, row 0, column 1
    tokens[5] = 0  # norm 0, row 1, column 2

    picture = picture_of(features(tokens, (2, 3), region=(480, 640)), 640)
    found = pixels(picture)
    assert found.shape == (240, 320, 3)
    assert picture.note == 'norm 0.0 to 6.0'
    brightness = found.sum(axis=2)
    third, half = 320 / 3, 120
    at = np.array(
        [
            [brightness[int((r + 0.5) * half), int((c + 0.5) * third)] for c in range(3)]
            for r in (0, 1)
        ]
    )
    assert at.argmax() == 1
    assert at.argmin() == 5
    assert len(np.unique(at)) == 3


def test_equal_norms_have_one_colour_and_pooled_ones_are_shown():
    picture = picture_of(features(np.full((1, 16), 2.0), (0, 0)), 640)

    assert picture.note == 'norm 8.0'
    assert len(np.unique(pixels(picture).reshape(-1, 3), axis=0)) == 1


@pytest.mark.parametrize('tokens', [[[np.nan, 1.0]], [[np.inf, 1.0]], np.zeros((0, 4))], ids=str)
def test_senseless_features_are_refused(tokens):
    with pytest.raises(FrameError, match='not finite'):
        picture_of(features(tokens, (1, 1)), 640)


def test_features_of_another_shape_are_refused():
    with pytest.raises(FrameError, match=r'expected \[tokens, channels\]'):
        picture_of(features(np.zeros((2, 3, 4)), (1, 2)), 640)
