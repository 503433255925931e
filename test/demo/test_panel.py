"""Labelled panels, as pictures and as a video."""

from __future__ import annotations

import numpy as np
import pytest

from theia_ros.demo import panel
from theia_ros.demo.panel import TILE_WH

WIDTH, HEIGHT = TILE_WH
RED, GREEN = (230, 20, 10), (10, 200, 20)


def flat(colour, size_hw=(480, 640)):
    return np.full((*size_hw, 3), colour, np.uint8)


def box_of(picture, colour):
    """Rows and columns of what has about this colour: top, bottom, left, right."""
    there = np.abs(picture.astype(int) - colour).max(axis=2) < 12
    rows, columns = np.flatnonzero(there.any(axis=1)), np.flatnonzero(there.any(axis=0))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


def test_tiles_stand_in_order_below_their_labels():
    row = panel.row({'left': flat(RED), 'right': flat(GREEN)})

    label = row.shape[0] - HEIGHT
    assert row.dtype == np.uint8
    assert row.shape[1] > 2 * WIDTH
    assert box_of(row, RED) == (label, label + HEIGHT, 0, WIDTH)
    top, bottom, left, right = box_of(row, GREEN)
    assert (top, bottom) == (label, label + HEIGHT)
    assert (left, right) == (row.shape[1] - WIDTH, row.shape[1])


def test_labels_are_drawn():
    one = panel.row({'camera': flat(RED)})
    other = panel.row({'dinov2/image': flat(RED)})

    label = one.shape[0] - HEIGHT
    assert one[:label].max() > 200
    assert (one[:label] != other[:label]).any()
    np.testing.assert_array_equal(one[label:], other[label:])


@pytest.mark.parametrize(
    ('size_hw', 'expected_wh'),
    [
        pytest.param((480, 640), (480, 360), id='as-the-tile'),
        pytest.param((100, 800), (480, 60), id='wide'),
        pytest.param((800, 100), (45, 360), id='tall'),
        pytest.param((48, 64), (480, 360), id='small'),
        pytest.param((10, 80), (480, 60), id='small-and-wide'),
        pytest.param((77, 133), (480, 278), id='odd'),
        pytest.param((1, 1), (360, 360), id='one-pixel'),
        pytest.param((1, 2000), (480, 1), id='one-row'),
    ],
)
def test_picture_keeps_its_aspect_in_the_middle_of_its_tile(size_hw, expected_wh):
    row = panel.row({'x': flat(RED, size_hw)})

    top, bottom, left, right = box_of(row, RED)
    label = row.shape[0] - HEIGHT
    assert abs((right - left) - expected_wh[0]) <= 1
    assert abs((bottom - top) - expected_wh[1]) <= 1
    assert abs((left + right) - WIDTH) <= 2
    assert abs((top + bottom - 2 * label) - HEIGHT) <= 2


def test_upper_right_corner_stays_there():
    picture = flat(RED, (90, 120))
    picture[:20, 100:] = GREEN

    row = panel.row({'x': picture})

    top, bottom, left, right = box_of(row, GREEN)
    assert top == row.shape[0] - HEIGHT
    assert right == WIDTH
    assert bottom - top == pytest.approx(80, abs=8)
    assert right - left == pytest.approx(80, abs=8)


def test_rows_are_joined_with_a_gap():
    a, b = flat(RED, (10, 30)), flat(GREEN, (10, 30))

    below, beside = panel.stack([a, b]), panel.beside([a, b])

    assert box_of(below, RED) == (0, 10, 0, 30)
    assert box_of(below, GREEN) == (below.shape[0] - 10, below.shape[0], 0, 30)
    assert below.shape[0] > 20
    assert box_of(beside, GREEN) == (0, 10, beside.shape[1] - 30, beside.shape[1])
    assert beside.shape[1] > 60
    np.testing.assert_array_equal(panel.stack([a]), a)


@pytest.fixture
def av():
    return pytest.importorskip('av', reason='the demo writes videos with PyAV')


@pytest.mark.parametrize(
    ('size_hw', 'stored_hw'),
    [
        pytest.param((48, 64), (48, 64), id='even'),
        pytest.param((49, 65), (48, 64), id='odd'),
    ],
)
def test_video_shows_its_frames_at_their_times(av, tmp_path, size_hw, stored_hw):
    path = tmp_path / 'panel.mp4'
    times_ms = [0, 40, 200, 1000]

    with panel.Video(path) as video:
        for i, ms in enumerate(times_ms):
            video.add(flat((40 * i, 40 * i, 40 * i), size_hw), 5_000_000_000 + ms * 1_000_000)

    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    assert [round(f.time * 1000) for f in frames] == times_ms
    arrays = [f.to_ndarray(format='rgb24') for f in frames]
    assert arrays[0].shape == (*stored_hw, 3)
    assert [int(a.mean()) for a in arrays] == pytest.approx([0, 40, 80, 120], abs=4)


def test_frames_of_one_moment_do_not_break_the_video(av, tmp_path):
    path = tmp_path / 'panel.mp4'

    with panel.Video(path) as video:
        for stamp_ns in (0, 100, 50_000_000, 50_000_100, 20_000_000, 90_000_000):
            video.add(flat(RED, (48, 64)), stamp_ns)

    with av.open(str(path)) as container:
        times = [f.time for f in container.decode(video=0)]
    assert times == sorted(set(times))
    assert len(times) >= 3


def test_video_without_frames_leaves_no_file(av, tmp_path):
    with panel.Video(tmp_path / 'panel.mp4'):
        pass

    assert list(tmp_path.iterdir()) == []


def test_video_that_is_broken_off_is_finished(av, tmp_path):
    path = tmp_path / 'panel.mp4'

    def break_off():
        with panel.Video(path) as video:
            video.add(flat(RED, (48, 64)), 0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()

    with av.open(str(path)) as container:
        assert len(list(container.decode(video=0))) == 1
