from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import synthetic

from theia_ros import checkpoint
from theia_ros.catalog import TEACHERS
from theia_ros.errors import EngineError
from theia_ros.model import reduce
from theia_ros.model import TheiaModel
from theia_ros.preprocess import NORMALISED
from theia_ros.preprocess import prepare

RULE = synthetic.golden_rule
ENCODER = synthetic.goldens('tiny_encoder')
HEADS = synthetic.goldens('tiny_heads')

TOKENS_ATOL = 1e-5
HEADS_ATOL = 5e-5


@pytest.fixture(scope='module')
def model(tiny_folder: Path) -> TheiaModel:
    return checkpoint.load(tiny_folder)


def pixels_of(name: str, *, resize: bool = True) -> torch.Tensor:
    preset = 'official' if resize else 'native'
    return torch.from_numpy(prepare([RULE.image(name)], preset))


@pytest.mark.parametrize(
    'name', ['noise_224', 'gradient_224', 'gray_224', 'scene_480x640', 'scene_96x128']
)
def test_tokens_are_those_of_the_published_code(model: TheiaModel, name: str) -> None:
    tokens = model(pixels_of(name), {'theia'})['theia'][0].numpy()
    np.testing.assert_allclose(tokens, ENCODER[f'tokens/{name}'], rtol=0, atol=TOKENS_ATOL)


def test_every_layer_is_that_of_the_published_code(model: TheiaModel) -> None:
    backbone = model.backbone
    x = backbone.patches(model.normalise(pixels_of('noise_224'))).flatten(2).transpose(1, 2)
    x = torch.cat([backbone.cls_token, x], dim=1) + backbone.positions
    states = [x]
    for layer in backbone.layers:
        states.append(layer(states[-1]))
    golden = ENCODER['hidden_states/noise_224/tokens_0_1_98_196']
    for ours, theirs in zip(states, golden, strict=True):
        np.testing.assert_allclose(
            ours[0, [0, 1, 98, 196]].numpy(), theirs, rtol=0, atol=TOKENS_ATOL
        )


@pytest.mark.parametrize('teacher', TEACHERS)
@pytest.mark.parametrize('name', ['noise_224', 'scene_480x640'])
def test_heads_are_those_of_the_published_code(model: TheiaModel, name: str, teacher: str) -> None:
    found = model(pixels_of(name), {teacher})
    assert set(found) == {teacher}
    tokens = found[teacher][0].numpy()
    golden = f'{name}/{synthetic.KEYS[teacher]}'
    for ours, part in (
        (tokens[::16], 'rows'),
        (tokens.mean(axis=1), 'token_mean'),
        (np.abs(tokens).mean(axis=1), 'token_absmean'),
        (tokens.mean(axis=0), 'channel_mean'),
    ):
        np.testing.assert_allclose(ours, HEADS[f'{golden}/{part}'], rtol=0, atol=HEADS_ATOL)


def test_other_sizes_interpolate_positions_as_the_published_code(model: TheiaModel) -> None:
    tokens = model(pixels_of('scene_320x256', resize=False), {'theia'})['theia'][0].numpy()
    golden = ENCODER['interp/tokens/scene_320x256']
    np.testing.assert_allclose(tokens, golden, rtol=0, atol=TOKENS_ATOL)


def test_heads_refuse_other_sizes(model: TheiaModel) -> None:
    with pytest.raises(EngineError, match='clip needs a grid of 14x14 patches, found 20x16'):
        model(pixels_of('scene_320x256', resize=False), {'theia', 'clip'})


def test_a_batch_equals_its_pictures_one_by_one(model: TheiaModel) -> None:
    names = ['noise_224', 'gray_224', 'scene_480x640']
    batch = model(torch.cat([pixels_of(n) for n in names]), {'theia', 'sam'})
    for i, name in enumerate(names):
        single = model(pixels_of(name), {'theia', 'sam'})
        for tensor, atol in (('theia', TOKENS_ATOL), ('sam', HEADS_ATOL)):
            np.testing.assert_allclose(batch[tensor][i], single[tensor][0], rtol=0, atol=atol)


def test_normalising_in_the_model_is_exact(model: TheiaModel) -> None:
    pixels = pixels_of('noise_224')
    np.testing.assert_array_equal(
        model.normalise(pixels)[0].numpy(), NORMALISED[pixels[0].numpy()].transpose(2, 0, 1)
    )


@pytest.mark.parametrize(
    ('reduction', 'golden'),
    [('mean', 'mean_pooling'), ('max', 'max_pooling'), ('cls', 'cls')],
)
def test_pooled_tokens_are_those_of_the_published_code(
    model: TheiaModel, reduction: str, golden: str
) -> None:
    tokens = model(pixels_of('noise_224'), {'theia'})['theia']
    pooled = reduce(tokens, reduction)
    assert pooled.shape == (1, 1, 192)
    expected = ENCODER[f'reduce/{golden}/noise_224']
    np.testing.assert_allclose(pooled[0, 0], expected, rtol=0, atol=TOKENS_ATOL)


def test_unpooled_tokens_keep_or_lose_cls() -> None:
    tokens = torch.arange(2 * 5 * 3.0).view(2, 5, 3)
    assert torch.equal(reduce(tokens, 'identity'), tokens)
    assert torch.equal(reduce(tokens, 'none'), tokens[:, 1:])
