from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from theia_ros.datatypes import Frame
from theia_ros.decoders.masks import boxes
from theia_ros.decoders.masks import Masks
from theia_ros.decoders.numbering import PALETTE
from theia_ros.decoders.segmentation import overlay
from theia_ros.decoders.segmentation import paint
from theia_ros.decoders.segmentation import SegmentationDecoder
from theia_ros.params import EncoderParams
from theia_ros.parts import read_statistics

# The synthetic network thinks little of its masks, so that the defaults would keep none.
PARAMS = EncoderParams(
    segmentation_points_per_side=2,
    segmentation_iou_threshold=0.1,
    segmentation_stability_threshold=0.0,
)


@pytest.fixture
def grid(predicted):
    return predicted['sam'][0].T.reshape(256, 64, 64)


@pytest.fixture
def make(whole_folder, network):
    statistics = read_statistics(whole_folder, 'sam')
    return lambda **changes: SegmentationDecoder(
        statistics, network, dataclasses.replace(PARAMS, **changes)
    )


def rectangles(*corners):
    pixels = torch.zeros(len(corners), 224, 224, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(pixels, corners, strict=True):
        mask[y0 : y1 + 1, x0 : x1 + 1] = True
    return Masks(pixels, torch.linspace(0.9, 0.8, len(corners)), boxes(pixels))


def test_the_smaller_mask_is_on_top():
    plate, cup, spoon = [20, 40, 180, 160], [60, 60, 100, 100], [90, 70, 150, 75]
    for order in ([plate, cup, spoon], [spoon, plate, cup], [cup, spoon, plate]):
        numbers = torch.tensor([{20: 7, 60: 8, 90: 9}[c[0]] for c in order])
        labels = paint(rectangles(*order), numbers)
        assert labels[72, 95] == 9  # the spoon on the cup on the plate
        assert labels[62, 62] == 8
        assert labels[150, 170] == 7
        assert labels[10, 10] == 0


def test_of_equal_masks_the_better_is_on_top():
    same = rectangles([5, 5, 9, 9], [5, 5, 9, 9])
    assert paint(same, torch.tensor([4, 3]))[7, 7] == 4


def test_nothing_found_is_no_label():
    assert not paint(rectangles(), torch.empty(0, dtype=torch.long)).any()


def test_masks_do_not_depend_on_the_size_of_batches(make, grid):
    one = make(segmentation_points_per_batch=1).find(grid)
    for batch in (0, 3, 100):
        other = make(segmentation_points_per_batch=batch).find(grid)
        np.testing.assert_allclose(other.scores, one.scores, rtol=0, atol=5e-5)
        assert torch.equal(other.boxes, one.boxes)
        assert (other.pixels ^ one.pixels).float().mean() < 1e-4
    assert len(one) >= 1


def test_labels_are_the_masks_in_the_cameras_pixels(make, grid):
    decoder = make()
    frame = Frame(np.zeros((448, 672, 3), np.uint8), 11, 'lens')
    found = decoder.decode(grid[None], [frame], decoder.maps)[0]
    labels = found['segmentation/labels']
    assert (labels.encoding, labels.values.dtype) == ('16UC1', np.uint16)
    assert (labels.stamp_ns, labels.frame_id) == (11, 'lens')
    assert labels.values.shape == (427, 640)
    masks = decoder.find(grid)
    direct = paint(masks, torch.arange(1, len(masks) + 1)).numpy()
    assert direct.any()
    y, x = np.arange(427) * 224 // 427, np.arange(640) * 224 // 640
    np.testing.assert_array_equal(labels.values, direct[y][:, x])


def test_frames_of_one_camera_keep_their_labels(make, grid):
    decoder = make()
    frames = [Frame(np.zeros((224, 224, 3), np.uint8), i, 'lens') for i in range(2)]
    first, second = (
        maps['segmentation/labels'].values
        for maps in decoder.decode(torch.stack([grid, grid]), frames, decoder.maps)
    )
    np.testing.assert_array_equal(first, second)


def test_each_camera_has_numbers_of_its_own(make, grid, monkeypatch):
    decoder = make()
    seen = {'front': [20, 20, 60, 60], 'wrist': [120, 120, 200, 200]}
    found = {'front': set(), 'wrist': set()}
    for _ in range(5):
        for camera, corner in seen.items():
            monkeypatch.setattr(decoder, 'find', lambda _, corner=corner: rectangles(corner))
            frame = Frame(np.zeros((224, 224, 3), np.uint8), 0, 'same_lens', camera)
            maps = decoder.decode(grid[None], [frame], decoder.maps)[0]
            found[camera] |= set(np.unique(maps['segmentation/labels'].values).tolist())
    assert found == {'front': {0, 1}, 'wrist': {0, 1}}


def test_only_what_is_wanted_is_made(make, grid):
    frame = Frame(np.zeros((60, 80, 3), np.uint8))
    for wanted in (['segmentation/labels'], ['segmentation/image']):
        assert list(make().decode(grid[None], [frame], wanted)[0]) == wanted


def test_thresholds_that_nothing_passes_give_empty_maps(make, grid):
    frame = Frame(np.full((60, 80, 3), 90, np.uint8))
    decoder = make(segmentation_iou_threshold=1.0)
    found = decoder.decode(grid[None], [frame], decoder.maps)[0]
    assert not found['segmentation/labels'].values.any()
    np.testing.assert_array_equal(found['segmentation/image'].values, frame.rgb)


def test_the_overlay_is_half_picture_half_colour():
    rgb = np.zeros((4, 6, 3), np.uint8)
    rgb[:] = (201, 0, 255)
    labels = np.zeros((4, 6), np.uint16)
    labels[1, 2:4] = 5
    found = overlay(rgb, labels)
    expected = (rgb[0, 0].astype(int) + PALETTE[5]) // 2
    np.testing.assert_array_equal(found[1, 2:4], [expected, expected])
    assert (found[labels == 0] == rgb[0, 0]).all()


def test_the_overlay_has_the_size_of_the_map():
    rgb = np.zeros((40, 60, 3), np.uint8)
    rgb[:, 30:, 0] = 200
    found = overlay(rgb, np.zeros((20, 30), np.uint16))
    assert found.shape == (20, 30, 3)
    assert found[:, 16:, 0].min() == 200
    assert found[:, :14].max() == 0
