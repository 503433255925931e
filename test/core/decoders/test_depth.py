from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import synthetic
from safetensors.torch import save_file

from theia_ros.cells import to_tokens
from theia_ros.datatypes import Frame
from theia_ros.decoders.depth import DepthDecoder
from theia_ros.decoders.depth import DepthHead
from theia_ros.decoders.depth import load
from theia_ros.decoders.depth import LogDepthHead
from theia_ros.decoders.depth import turbo
from theia_ros.errors import WeightsError
from theia_ros.parts import read_statistics
from theia_ros.parts import Statistics

GOLDEN = synthetic.goldens('decoders')
PLAIN = Statistics(torch.zeros(32), torch.ones(32))
FIRST_CHANNEL = DepthHead(F.one_hot(torch.tensor([0]), 32).float(), torch.zeros(1))
"""A head that takes the first channel as it is."""


def decoder(map_width_px=640):
    return DepthDecoder(PLAIN, FIRST_CHANNEL, map_width_px)


def grid_of(values):
    """Return (1, 32, 64, 64) with these values (64, 64) in the first channel."""
    return F.pad(values[None, None], (0, 0, 0, 0, 0, 31))


def frame(height_px, width_px):
    return Frame(np.zeros((height_px, width_px, 3), np.uint8), 3, 'lens')


def test_the_map_is_that_of_the_published_code(whole_folder, predicted):
    """On pictures of 224 by 224, the size of the published map."""
    statistics = read_statistics(whole_folder, 'depth_anything')
    head = load(whole_folder / 'decoders' / 'depth_anything.safetensors')
    grid = predicted['depth_anything'].transpose(1, 2).view(1, 32, 64, 64)
    decoded = DepthDecoder(statistics, head, 640).decode(grid, [frame(224, 224)], ['depth/image'])
    depth = decoded[0]['depth/image']
    assert (depth.encoding, depth.values.dtype) == ('32FC1', np.float32)
    assert (depth.stamp_ns, depth.frame_id) == (3, 'lens')
    np.testing.assert_allclose(
        depth.values[::4], GOLDEN['depth/map_rows_stride4'], rtol=0, atol=5e-5
    )
    np.testing.assert_allclose(
        synthetic.golden_rule.summary(depth.values), GOLDEN['depth/summary'], rtol=0, atol=5e-5
    )


def test_the_head_holds_the_published_numbers(whole_folder):
    head = load(whole_folder / 'decoders' / 'depth_anything.safetensors')
    assert torch.equal(
        torch.cat([head.weight[0], head.bias]), torch.from_numpy(GOLDEN['depth/conv3'])
    )


def test_each_picture_is_stretched_by_itself():
    near = grid_of(torch.linspace(0, 8, 4096).view(64, 64))
    far = grid_of(torch.linspace(0.5, 1, 4096).view(64, 64))
    found = decoder().decode(torch.cat([near, far]), [frame(64, 64)] * 2, ['depth/image'])
    expected = np.linspace(0, 1, 4096, dtype=np.float32).reshape(64, 64)
    for maps in found:
        np.testing.assert_allclose(maps['depth/image'].values, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize('value', [0.0, 2.5, -1.0, float('nan'), float('inf')])
def test_constant_depth_is_zero(value):
    maps = decoder().decode(grid_of(torch.full((64, 64), value)), [frame(48, 64)], decoder().maps)[
        0
    ]
    assert not maps['depth/image'].values.any()
    assert (maps['depth/image_color'].values == turbo(torch.zeros(1, 1)).numpy()[0, 0]).all()


def test_what_is_not_finite_counts_as_far():
    values = torch.linspace(1, 2, 4096).view(64, 64)
    values[0, :2] = torch.tensor([float('nan'), float('inf')])
    depth = decoder().decode(grid_of(values), [frame(64, 64)], ['depth/image'])[0]['depth/image']
    assert depth.values[0, :2].tolist() == [0.0, 0.0]
    assert depth.values[0, 2] == pytest.approx(0.5, abs=1e-3)
    assert depth.values[63, 63] == 1.0


def test_only_what_is_wanted_is_made():
    grid = grid_of(torch.rand(64, 64))
    for wanted in (['depth/image'], ['depth/image_color'], []):
        assert list(decoder().decode(grid, [frame(9, 7)], wanted)[0]) == wanted


def test_numbers_are_repeated_and_colours_are_smooth():
    """No depth between two things is invented, but the picture shows no steps."""
    values = torch.zeros(64, 64)
    values[:, 32:] = 1
    maps = decoder(320).decode(grid_of(values), [frame(240, 320)], decoder().maps)[0]
    depth, colour = maps['depth/image'].values, maps['depth/image_color'].values
    assert depth.shape == (240, 320)
    assert (depth[:, :160] == 0).all()
    assert (depth[:, 160:] == 1).all()
    assert (colour.shape, colour.dtype) == ((240, 320, 3), np.uint8)
    assert len(np.unique(colour[0], axis=0)) > 4


def test_colours_go_from_blue_over_green_to_red_in_small_steps():
    colours = turbo(torch.linspace(0, 1, 256)[None])[0].int()
    blue, green, red = colours[[48, 128, 220]]
    assert (blue.argmax(), green.argmax(), red.argmax()) == (2, 1, 0)
    assert (colours[1:] - colours[:-1]).abs().max() < 16
    assert len(np.unique(colours, axis=0)) > 240


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        pytest.param(lambda t: t.pop('head.conv3.bias'), '1 missing', id='missing'),
        pytest.param(lambda t: t.update(x=torch.ones(1)), '1 unexpected .first: x', id='extra'),
        pytest.param(
            lambda t: t.update({'head.conv3.weight': torch.ones(1, 64, 1, 1)}),
            r'head.conv3.weight has shape \(1, 64, 1, 1\); expected \(1, 32, 1, 1\)',
            id='shape',
        ),
    ],
)
def test_another_head_is_refused(tmp_path, change, said):
    tensors = {
        name: torch.from_numpy(value)
        for name, value in synthetic.parameters(synthetic.DEPTH_SHAPES).items()
    }
    change(tensors)
    save_file(tensors, tmp_path / 'depth_anything.safetensors')
    with pytest.raises(WeightsError, match=said) as caught:
        load(tmp_path / 'depth_anything.safetensors')
    assert '\n' not in str(caught.value)


def test_metres_of_a_simulator_become_relative_inverse_depth():
    metres = torch.linspace(0.5, 4, 4096).view(64, 64)
    statistics = Statistics(torch.full((16,), 0.3), torch.full((16,), 0.5))
    tokens = (to_tokens(metres[None]).log() - 0.3) / 0.5
    grids = tokens.transpose(1, 2).reshape(1, 16, 16, 16)
    head = DepthDecoder(statistics, LogDepthHead(), 640)
    assert head.tensor == 'depth'
    found = head.decode(grids, [frame(64, 64)], ['depth/image'])[0]['depth/image'].values
    expected = (1 / metres - 1 / 4) / (1 / 0.5 - 1 / 4)
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-5)
