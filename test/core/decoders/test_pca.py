from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers import synthetic

from theia_ros.datatypes import Frame
from theia_ros.decoders.pca import PcaDecoder
from theia_ros.decoders.pca import principal_directions
from theia_ros.decoders.pca import StableView
from theia_ros.parts import read_statistics

GOLDEN = synthetic.goldens('decoders')


@pytest.fixture
def tokens(whole_folder, predicted):
    return read_statistics(whole_folder, 'dinov2').denormalise(predicted['dinov2'])


def moving(pictures, seed=0):
    """Yield (1, 256, 64) of a blob that wanders over slopes whose strengths take turns."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.linalg.qr(torch.randn(64, 6, generator=generator))[0].T * 8
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing='ij')
    for t in range(pictures):
        blob = torch.exp(
            -((x - 8 - 5 * np.sin(t / 9)) ** 2 + (y - 8 - 4 * np.cos(t / 13)) ** 2) / 12
        )
        turn = 0.3 * np.sin(t / 7)
        parts = [3 * blob, 2.7 * (x / 15 - 0.5) * (1 + turn), 2.6 * (y / 15 - 0.5) * (1 - turn)]
        parts += [0.5 * torch.sin(x + t / 5), 0.3 * torch.cos(y), 0.2 * torch.cos(x * y)]
        noise = 0.05 * torch.randn(256, 64, generator=generator)
        yield (torch.stack(parts, dim=-1).flatten(0, 1) @ directions + noise)[None]


def steps(view, sequence):
    """Return how far colours move from picture to picture, on average over a picture."""
    colours = [view(tokens)[0] for tokens in sequence]
    assert all(c.isfinite().all() and c.min() >= 0 and c.max() <= 1 for c in colours)
    return [(b - a).abs().mean().item() for a, b in pairwise(colours)]


def test_the_first_view_is_that_of_the_published_code(tokens):
    view = StableView().colours(tokens)[0].view(16, 16, 3)
    np.testing.assert_allclose(view, GOLDEN['pca/rgb16'], rtol=0, atol=5e-5)


def test_directions_are_those_of_the_published_code(tokens):
    _, directions = principal_directions(tokens[0])
    np.testing.assert_allclose(directions, GOLDEN['pca/components'], rtol=0, atol=5e-5)


def test_stable_view_never_flips():
    """The blob moves, and with it some colours; a flip would move all of them, by a third."""
    assert max(steps(lambda tokens: StableView().colours(tokens), moving(200))) > 0.2
    assert max(steps(StableView().colours, moving(200))) < 0.03


def test_equal_things_keep_equal_colours():
    """Slope, corner and noise stand still in the sequence, so their colours do too."""
    view, colours = StableView(), []
    for tokens in moving(300):
        colours.append(view.colours(tokens)[0].view(16, 16, 3)[15, 0])
    late = torch.stack(colours[100:])
    assert (late.amax(dim=0) - late.amin(dim=0)).max() < 0.5
    assert max((b - a).abs().max() for a, b in pairwise(late)) < 0.1


def test_stable_view_follows_a_change_of_scene():
    view = StableView()
    for tokens in moving(60):
        view.colours(tokens)
    for tokens in moving(300, seed=1):
        colours = view.colours(tokens)[0]
    # What three directions can tell of this picture at best, and what ours tell.
    centred = tokens[0] - tokens[0].mean(dim=0)
    best = torch.linalg.svdvals(centred)[:3].square().sum()
    ours = (centred @ view._directions.T).square().sum()
    assert ours > 0.95 * best
    assert (colours.amax(dim=0) - colours.amin(dim=0)).min() > 0.5


def test_pictures_of_one_colour_change_nothing():
    gray = torch.full((1, 256, 64), 0.7)
    view, reference = StableView(), StableView()
    assert not view.colours(gray).any()  # nothing is known yet
    for i, tokens in enumerate(moving(30)):
        assert torch.equal(view.colours(tokens), reference.colours(tokens))
        covered = view.colours(gray)
        assert covered.isfinite().all(), i
        assert torch.equal(covered[0, 0], covered[0, 255])


def test_rounding_is_no_colour():
    """Tokens that differ along one direction only have one colour, not three."""
    slope = torch.linspace(0, 1, 256)[None, :, None] * torch.randn(64)
    view = StableView()
    for _ in range(5):
        colours = view.colours(slope * 3 + 1)[0]
        assert (colours[:, 0].max() - colours[:, 0].min()) > 0.99
        assert (colours[:, 1:].amax(dim=0) - colours[:, 1:].amin(dim=0)).max() < 0.05


@pytest.mark.parametrize('cells', [1, 2])
def test_grids_of_one_or_two_cells_have_colours(cells):
    assert StableView().colours(torch.randn(1, cells, 64)).shape == (1, cells, 3)


def test_cameras_share_the_view_and_keep_their_sizes():
    decoder = PcaDecoder('dinov2', None, 64)
    frames = [
        Frame(np.zeros((48, 96, 3), np.uint8), 7, 'left'),
        Frame(np.zeros((30, 20, 3), np.uint8), 8, 'right'),
    ]
    found = decoder.decode(torch.randn(2, 1024, 16, 16), frames, decoder.maps)
    first, second = (maps['dinov2/image'] for maps in found)
    assert (first.values.shape, first.stamp_ns, first.frame_id) == ((32, 64, 3), 7, 'left')
    assert (second.values.shape, second.stamp_ns, second.frame_id) == ((30, 20, 3), 8, 'right')
    assert first.values.dtype == np.uint8
    assert first.encoding == 'rgb8'
