"""Pictures for the demo camera."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image

from theia_ros.demo import sources
from theia_ros.errors import ParameterError

cv2 = pytest.importorskip('cv2', reason='the demo reads videos with OpenCV')
pytest.importorskip('skimage', reason='the demo shows its photographs')


def write_video(path, colours, size_wh=(64, 48)):
    """Write a frame of each colour, red first."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 25, size_wh)
    for colour in colours:
        writer.write(np.full((size_wh[1], size_wh[0], 3), colour[::-1], np.uint8))
    writer.release()
    return path


def take(pictures, count):
    return list(itertools.islice(pictures, count))


@pytest.mark.parametrize(
    'size_wh',
    [
        pytest.param((640, 480), id='as-usual'),
        pytest.param((160, 40), id='wide'),
        pytest.param((40, 160), id='tall'),
        pytest.param((31, 17), id='odd'),
        pytest.param((1, 1), id='one-pixel'),
    ],
)
def test_pictures_have_the_size_that_is_asked_for(size_wh):
    found = take(sources.pictures(size_wh, 5.0), 22)  # two photographs, then the clip

    assert {(p.shape, p.dtype.name) for p in found} == {((size_wh[1], size_wh[0], 3), 'uint8')}


def test_photographs_move():
    first, second = take(sources.pictures((160, 120), 25.0), 2)

    assert 0 < np.abs(first.astype(int) - second).mean() < 30


def test_photographs_fill_their_time():
    rate_hz = 5.0
    count = round(sources.PHOTOGRAPH_S * rate_hz)

    found = take(sources.pictures((64, 48), rate_hz), 2 * count)

    steps = [np.abs(a.astype(int) - b).mean() for a, b in itertools.pairwise(found)]
    assert np.argmax(steps) == count - 1  # the next photograph


def test_one_picture_per_photograph_is_enough():
    assert len(take(sources.pictures((64, 48), 0.5), 3)) == 3


@pytest.mark.parametrize(
    'size_wh', [pytest.param((100, 50), id='wide'), pytest.param((50, 100), id='tall')]
)
def test_photographs_keep_their_aspect(size_wh):
    # A disc stays a disc: as wide as high.
    photograph = np.zeros((300, 400, 3), np.uint8)
    y, x = np.ogrid[:300, :400]
    photograph[(y - 130) ** 2 + (x - 150) ** 2 < 40**2] = 255

    (picture, *_) = sources._moved(Image.fromarray(photograph), size_wh, 3)

    there = picture[..., 0] > 127
    high, wide = there.any(axis=1).sum(), there.any(axis=0).sum()
    assert high > 8
    assert abs(int(high) - int(wide)) <= 2


def test_video_plays_over_and_over_in_its_colours(tmp_path):
    path = write_video(tmp_path / 'a.avi', [(220, 20, 30), (20, 220, 30), (20, 30, 220)])

    found = take(sources.video(path, (32, 24)), 7)

    assert {p.shape for p in found} == {(24, 32, 3)}
    assert [int(p[12, 16].argmax()) for p in found] == [0, 1, 2, 0, 1, 2, 0]


def test_missing_video_is_told(tmp_path):
    path = tmp_path / 'missing.mp4'

    with pytest.raises(ParameterError, match=r'missing\.mp4: no such video file'):
        next(sources.video(path, (32, 24)))


@pytest.mark.parametrize(
    'content', [pytest.param(b'', id='empty'), pytest.param(b'no video ' * 99, id='text')]
)
def test_file_that_is_no_video_is_told(tmp_path, content, capfd):
    path = tmp_path / 'notes.mp4'
    path.write_bytes(content)

    with pytest.raises(ParameterError, match='OpenCV reads no frame; expected a video file'):
        next(sources.video(path, (32, 24)))


def test_missing_device_is_told(capfd):
    with pytest.raises(ParameterError, match='camera device 97 gives no picture; see ls /dev'):
        next(sources.device(97, (32, 24)))
