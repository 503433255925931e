from __future__ import annotations

import numpy as np
import torch

from theia_ros.datatypes import Frame
from theia_ros.decoders.classes import ClassesDecoder
from theia_ros.params import EncoderParams

MAPS = ('segmentation/labels', 'segmentation/image')


def grids_of(labels: torch.Tensor) -> torch.Tensor:
    """Return what a head gives that is sure of labels (64, 64): (1, 512, 16, 16)."""
    grids = torch.zeros(1, 512, 16, 16)
    for y in range(64):
        for x in range(64):
            channel = 16 * int(labels[y, x]) + 4 * (y % 4) + x % 4
            grids[0, channel, y // 4, x // 4] = 5
    return grids


def frame(height_px: int, width_px: int) -> Frame:
    rng = np.random.default_rng(0)
    return Frame(rng.integers(0, 256, (height_px, width_px, 3), np.uint8), 3, 'lens')


def test_labels_lie_where_the_head_saw_them() -> None:
    labels = torch.zeros(64, 64, dtype=torch.long)
    labels[5, 63], labels[40:50, 10:30] = 31, 4
    maps = ClassesDecoder(640).decode(grids_of(labels), [frame(64, 64)], MAPS)[0]
    found = maps['segmentation/labels']
    assert (found.encoding, found.values.dtype) == ('16UC1', np.uint16)
    assert (found.stamp_ns, found.frame_id) == (3, 'lens')
    np.testing.assert_array_equal(found.values, labels.numpy())


def test_maps_are_in_the_view_of_the_camera() -> None:
    labels = torch.zeros(64, 64, dtype=torch.long)
    labels[:32, 32:] = 2
    source = frame(96, 128)
    maps = ClassesDecoder(640).decode(grids_of(labels), [source], MAPS)[0]
    values, picture = (maps[name].values for name in MAPS)
    assert values.shape == (96, 128)
    assert (values[:48, 64:] == 2).all()
    assert values.sum() == 2 * 48 * 64
    # The background keeps the picture as it is; a class has one colour, half and half.
    assert (picture[48:] == source.rgb[48:]).all()
    assert not (picture[:48, 64:] == source.rgb[:48, 64:]).all(axis=-1).any()


def test_only_what_is_wanted_is_made_and_sizes_change_live() -> None:
    decoder = ClassesDecoder(640)
    grids = grids_of(torch.ones(64, 64, dtype=torch.long))
    for wanted in (['segmentation/labels'], ['segmentation/image'], []):
        assert list(decoder.decode(grids, [frame(9, 7)], wanted)[0]) == wanted
    decoder.use(EncoderParams(map_width_px=80))
    assert decoder.decode(grids, [frame(120, 160)], MAPS)[0][MAPS[1]].values.shape == (60, 80, 3)
