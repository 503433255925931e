from __future__ import annotations

import pytest
import torch

from theia_ros.geometry import map_hw
from theia_ros.geometry import stretch

DINOV2 = 196 / 224


@pytest.mark.parametrize(
    ('image_hw', 'size_hw'),
    [
        ((480, 640), (480, 640)),
        ((1080, 1920), (360, 640)),
        ((333, 517), (333, 517)),
        ((1501, 2000), (480, 640)),
        ((2000, 30), (2000, 30)),
        ((1, 5000), (1, 640)),
    ],
)
def test_maps_keep_the_cameras_aspect(image_hw, size_hw):
    assert map_hw(image_hw, 640) == size_hw


def test_nearest_repeats_cells():
    grid = torch.arange(6).view(1, 2, 3)
    found = stretch(grid, (4, 9), 1.0, 'nearest')
    assert found[0].tolist() == [
        [0, 0, 0, 1, 1, 1, 2, 2, 2],
        [0, 0, 0, 1, 1, 1, 2, 2, 2],
        [3, 3, 3, 4, 4, 4, 5, 5, 5],
        [3, 3, 3, 4, 4, 4, 5, 5, 5],
    ]


@pytest.mark.parametrize('pixels', [224, 427, 480, 517, 1080])
def test_nearest_is_exact_at_every_size(pixels):
    """At 427 torch's own gives cell 31 to pixel 61, which begins cell 32."""
    grid = torch.arange(224.0)[None, None].expand(1, 2, 224)
    found = stretch(grid, (2, pixels), 1.0, 'nearest')[0, 0]
    assert found.tolist() == [i * 224 // pixels for i in range(pixels)]


def test_nearest_at_the_published_size_is_torchs():
    grid = torch.rand(3, 64, 64)
    theirs = torch.nn.functional.interpolate(grid[None], (224, 224), mode='nearest')[0]
    assert torch.equal(stretch(grid, (224, 224), 1.0, 'nearest'), theirs)


def test_bilinear_keeps_the_centres_of_cells():
    grid = torch.rand(2, 4, 8)
    found = stretch(grid, (12, 40), 1.0, 'bilinear')
    torch.testing.assert_close(found[:, 1::3, 2::5], grid)


@pytest.mark.parametrize('mode', ['nearest', 'bilinear'])
def test_what_a_grid_does_not_cover_is_zero(mode):
    """Of 224 rows 14 on each side, of 320 columns 20."""
    found = stretch(torch.ones(1, 16, 16), (224, 320), DINOV2, mode)[0]
    assert found[14:210, 20:300].min() == 1
    found[14:210, 20:300] = 0
    assert not found.any()


@pytest.mark.parametrize('size_hw', [(333, 517), (96, 128), (17, 480), (1, 1)])
def test_odd_sizes_are_filled_to_the_pixel(size_hw):
    found = stretch(torch.ones(1, 16, 16), size_hw, DINOV2, 'nearest')[0]
    assert found.shape == size_hw
    assert torch.equal(found, found.flip(0))
    assert torch.equal(found, found.flip(1))


def test_the_covered_part_is_that_of_dinov2():
    found = stretch(torch.ones(1, 16, 16), (333, 517), DINOV2, 'nearest')[0]
    assert found.any(dim=1).sum() == 291  # 0.875 * 333 = 291.4
    assert found.any(dim=0).sum() == 453  # 0.875 * 517 = 452.4


def test_a_mark_in_one_corner_stays_there():
    grid = torch.zeros(1, 2, 3)
    grid[0, 0, 2] = 1
    found = stretch(grid, (10, 60), 1.0, 'nearest')[0]
    assert found[:5, 40:].min() == 1
    found[:5, 40:] = 0
    assert not found.any()
