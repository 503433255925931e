"""The committed clip is what its description says."""

import json
from pathlib import Path

import numpy as np
import pytest

cv2 = pytest.importorskip('cv2')

DATA = Path(__file__).parents[2] / 'theia_ros' / 'demo' / 'data'
META = json.loads((DATA / 'panda_table.json').read_text())
VIDEO, TRUTH = META['video'], META['truth']
LARGEST_FILE_MB = 2.5


@pytest.fixture(scope='module')
def frames():
    """All frames, (F, H, W, 3) uint8, red first."""
    capture = cv2.VideoCapture(str(DATA / VIDEO['file']))
    assert capture.isOpened()
    assert capture.get(cv2.CAP_PROP_FPS) == VIDEO['fps']
    found = []
    while True:
        good, bgr = capture.read()
        if not good:
            break
        found.append(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
    capture.release()
    return np.stack(found)


@pytest.fixture(scope='module')
def truth():
    with np.load(DATA / TRUTH['file'], allow_pickle=False) as arrays:
        return dict(arrays)


def at_truth_pixels(picture):
    cut = slice(TRUTH['offset_px'], None, TRUTH['stride_px'])
    return picture[cut, cut]


def test_files_are_small_and_described():
    described = {'README.md', 'panda_table.json', VIDEO['file'], TRUTH['file']}
    card = (DATA / 'README.md').read_text()
    for name in described:
        assert (DATA / name).stat().st_size < LARGEST_FILE_MB * 1e6
        assert name == 'README.md' or f'`{name}`' in card


def test_video_has_the_size_and_length_it_says(frames):
    assert frames.shape == (VIDEO['frames'], VIDEO['height'], VIDEO['width'], 3)


def test_something_moves_all_the_time(frames):
    small = frames[:, ::4, ::4].astype(np.int16)
    moved = (np.abs(np.diff(small, axis=0)).max(axis=-1) > 30).sum(axis=(1, 2))
    # The hand rests only while the fingers close or open.
    assert (moved > 0).mean() > 0.8
    assert moved.max() < small[0, ..., 0].size / 4  # no cut: the camera stands still


def test_picture_is_well_exposed(frames):
    grey = frames[::25].mean(axis=-1)
    assert 60 < grey.mean() < 200
    assert (grey > 250).mean() < 0.1


def test_truth_has_the_size_and_frames_it_says(truth):
    shape = (TRUTH['frames'], TRUTH['height'], TRUTH['width'])
    assert truth['depth_mm'].shape == truth['labels'].shape == truth['instances'].shape == shape
    assert truth['depth_mm'].dtype == np.uint16
    assert truth['labels'].dtype == truth['instances'].dtype == np.uint8
    assert truth['frame_index'].tolist() == list(range(0, VIDEO['frames'], TRUTH['every_frames']))
    assert at_truth_pixels(np.empty((VIDEO['height'], VIDEO['width']))).shape == shape[1:]


def test_state_has_a_row_for_every_frame(truth):
    for name, shape in {
        'joint_positions_rad': (7,),
        'tool_position_m': (3,),
        'opening_m': (),
        'camera_to_world': (4, 4),
    }.items():
        assert truth[name].shape == (VIDEO['frames'], *shape)
        assert np.isfinite(truth[name]).all()
    step_m = np.linalg.norm(np.diff(truth['tool_position_m'], axis=0), axis=1)
    assert step_m.max() * VIDEO['fps'] < 2.0
    assert step_m.sum() > 1.0
    assert 0 <= truth['opening_m'].min() < 0.07 < truth['opening_m'].max() < 0.09


def test_depth_is_that_of_a_room(truth):
    depth_m = truth['depth_mm'] * TRUTH['depth_unit_m']
    assert [depth_m.min(), depth_m.max()] == pytest.approx(TRUTH['depth_range_m'])
    assert 0.5 < depth_m.min() < depth_m.max() < 6.0


def test_every_class_is_seen_and_belongs_to_its_instance(truth):
    classes = META['classes']
    assert set(np.unique(truth['labels'])) == set(range(len(classes)))
    for number, thing in META['instances'].items():
        labels = np.unique(truth['labels'][truth['instances'] == int(number)])
        assert labels.tolist() == [classes.index(thing['class'])]
    assert truth['instances'].max() == len(META['instances'])


@pytest.mark.parametrize('number', META['instances'], ids=lambda n: META['instances'][n]['name'])
def test_masks_lie_on_the_things_in_every_frame(frames, truth, number):
    """A wrong frame, pixel or channel order shows as a wrong colour under the mask."""
    wanted = np.array(META['instances'][number]['rgb'])
    seen = 0
    for index, instances in zip(truth['frame_index'], truth['instances'], strict=True):
        mask = instances == int(number)
        if mask.sum() < 20:
            continue
        rgb = np.median(at_truth_pixels(frames[index])[mask], axis=0)
        assert rgb @ wanted / np.linalg.norm(rgb) / np.linalg.norm(wanted) > 0.97
        seen += 1
    assert seen > TRUTH['frames'] / 3


def test_depth_and_camera_put_the_table_at_height_zero(truth):
    """Back-projection uses depth, intrinsics and pose: all of them must be right."""
    camera = META['camera']
    rows, columns = np.indices((TRUTH['height'], TRUTH['width']))
    x = (TRUTH['offset_px'] + TRUTH['stride_px'] * columns - camera['cx']) / camera['fx']
    y = (TRUTH['offset_px'] + TRUTH['stride_px'] * rows - camera['cy']) / camera['fy']
    depth_m = truth['depth_mm'][0] * TRUTH['depth_unit_m']
    points = np.stack([x * depth_m, y * depth_m, depth_m, np.ones_like(depth_m)], axis=-1)
    height_m = (points @ truth['camera_to_world'][0].T)[..., 2]
    table = truth['labels'][0] == META['classes'].index('table')
    assert (np.abs(height_m[table]) < 0.002).mean() > 0.9
    assert height_m[truth['labels'][0] == META['classes'].index('robot')].max() > 0.5
