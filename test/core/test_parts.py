from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import synthetic

from theia_ros.catalog import cache_folder
from theia_ros.errors import WeightsError
from theia_ros.parts import find_part
from theia_ros.parts import read_statistics

STEM = 'LiheYoung_depth-anything-large-hf'


@pytest.fixture
def folder(tmp_path):
    synthetic.write_statistics(tmp_path / 'model')
    return tmp_path / 'model'


@pytest.mark.parametrize('teacher', synthetic.ALL_TEACHERS)
def test_denormalised_features_are_those_of_the_published_code(folder, teacher):
    """The file called `var` holds deviations: f = prediction * std + mean."""
    key = synthetic.KEYS[teacher]
    channels = synthetic.golden_rule.TEACHERS[key][0]
    statistics = read_statistics(folder, teacher)
    tokens = torch.randn(2, 5, channels)
    expected = tokens.numpy() * synthetic.golden_rule.feature_std(key, channels)
    expected += synthetic.golden_rule.feature_mean(key, channels)
    np.testing.assert_allclose(statistics.denormalise(tokens), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize('part', ['mean', 'var'])
def test_half_of_the_statistics_are_none(folder, part):
    (folder / 'statistics' / f'imagenet_{part}_{STEM}.npy').unlink()
    assert read_statistics(folder, 'depth_anything') is None
    assert read_statistics(folder, 'sam') is not None


def test_the_models_folder_comes_before_the_cache(folder):
    name = f'statistics/imagenet_mean_{STEM}.npy'
    synthetic.write_statistics(cache_folder())
    assert find_part(folder, name) == folder / name
    (folder / name).unlink()
    assert find_part(folder, name) == cache_folder() / name
    assert find_part(folder, 'decoders/sam.safetensors') is None


@pytest.mark.parametrize(
    ('values', 'said'),
    [
        pytest.param(np.ones(31, np.float32), r'holds float32 \(31,\); expected 32', id='shape'),
        pytest.param(np.ones(32, np.int64), 'holds int64', id='integers'),
        pytest.param(np.full(32, np.nan, np.float32), 'expected 32 finite float32', id='nan'),
        pytest.param(np.array([{}] * 32), 'is no array file', id='pickle'),
    ],
)
def test_other_statistics_are_refused(folder, values, said):
    path = folder / 'statistics' / f'imagenet_var_{STEM}.npy'
    np.save(path, values, allow_pickle=True)
    with pytest.raises(WeightsError, match=said) as caught:
        read_statistics(folder, 'depth_anything')
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('content', [b'', b'text', b'\x93NUMPY\x01\x00'])
def test_damaged_statistics_are_refused(folder, content):
    path = folder / 'statistics' / f'imagenet_mean_{STEM}.npy'
    path.write_bytes(content)
    with pytest.raises(WeightsError, match='is no array file'):
        read_statistics(folder, 'depth_anything')
