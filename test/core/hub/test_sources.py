import re

import pytest

from theia_ros.catalog import APACHE
from theia_ros.catalog import cache_folder
from theia_ros.catalog import find_model
from theia_ros.catalog import TEACHERS
from theia_ros.catalog import THEIA_LICENCE
from theia_ros.demo import model as demo_model
from theia_ros.hub import sources

SMALL = 'theia-small-patch16-224-cdiv'
LARGE = 'theia-base-patch16-224-cddsv'


def test_model_comes_from_the_hub_the_weights_last():
    config, weights = sources.model_assets(SMALL)
    assert config.url() == (
        'https://huggingface.co/theaiinstitute/theia-small-patch16-224-cdiv/resolve/main/config.json'
    )
    assert weights.url('0123').endswith('/resolve/0123/model.safetensors')
    assert weights.path == cache_folder() / 'models' / SMALL / 'model.safetensors'
    assert weights.licence is THEIA_LICENCE
    assert weights.numbers == 36_663_808


def test_decoders_are_small_parts_of_the_teachers():
    depth, sam = sources.decoder_asset('depth_anything'), sources.decoder_asset('sam')
    assert depth.url() == (
        'https://huggingface.co/LiheYoung/depth-anything-large-hf/resolve/main/model.safetensors'
    )
    assert depth.tensors == ('head.conv3.weight', 'head.conv3.bias')
    assert (depth.numbers, sam.numbers) == (33, 4_065_072)
    assert sam.place == 'decoders/sam.safetensors'
    assert sam.licence is depth.licence is APACHE


def test_statistics_are_those_of_one_commit():
    mean, deviation = sources.statistics_assets('sam')
    assert mean.url() == (
        'https://raw.githubusercontent.com/rai-opensource/theia/'
        '59d0448f0c917f5c523142096ee608963012a8d2/'
        'feature_stats/imagenet_mean_facebook_sam-vit-huge.npy'
    )
    assert mean.sha256.startswith('eb6b59b7a41e')
    assert deviation.sha256.startswith('3b54fdc26dc7')
    assert mean.licence is THEIA_LICENCE


def test_every_teacher_has_statistics():
    files = {asset.path.name for name in TEACHERS for asset in sources.statistics_assets(name)}
    assert files == set(sources.STATISTICS_SHA256)
    assert all(re.fullmatch('[0-9a-f]{64}', one) for one in sources.STATISTICS_SHA256.values())


@pytest.mark.parametrize(('name', 'parts'), [(SMALL, 6), (LARGE, 12), ('demo-dinov2-small', 0)])
def test_model_needs_the_parts_of_its_heads_alone(name, parts):
    assets = sources.decoding_assets(name)
    assert len(assets) == parts
    decoders = {asset.place for asset in assets if asset.tensors}
    expected = {'decoders/sam.safetensors', 'decoders/depth_anything.safetensors'}
    assert decoders == (expected if name == LARGE else set())


def test_mirrors_are_used(monkeypatch):
    monkeypatch.setenv('HF_ENDPOINT', 'https://mirror.example/')
    monkeypatch.setenv('THEIA_ROS_GITHUB', 'http://10.0.0.1:8000/raw')
    assert sources.decoder_asset('sam').url().startswith('https://mirror.example/facebook/sam')
    assert (
        sources.statistics_assets('sam')[0]
        .url()
        .startswith('http://10.0.0.1:8000/raw/rai-opensource/theia/')
    )


def test_demo_model_is_known_by_its_checksum():
    (asset,) = sources.model_assets(sources.DEMO)
    assert (sources.DEMO, asset.sha256) == (demo_model.NAME, demo_model.WEIGHTS_SHA256)
    assert asset.size == 86_687_576
    assert asset.path == cache_folder() / 'models' / sources.DEMO / 'model.safetensors'


def test_model_that_is_shipped_lies_outside_the_cache():
    (asset,) = sources.model_assets('demo-tiny')
    assert asset.path == find_model('demo-tiny') / 'model.safetensors'
    assert sources.decoding_assets('demo-tiny') == ()
