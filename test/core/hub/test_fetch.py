import dataclasses
import json

import numpy as np
import pytest
from helpers.hub_server import COMMIT
from helpers.hub_server import sha256
from helpers.hub_server import weights
from safetensors.numpy import load_file
from safetensors.numpy import save

from theia_ros.errors import WeightsError
from theia_ros.hub import store
from theia_ros.hub.download import partial_files
from theia_ros.hub.fetch import copy
from theia_ros.hub.fetch import fetch
from theia_ros.hub.sources import decoder_asset
from theia_ros.hub.sources import model_assets
from theia_ros.hub.sources import statistics_assets

NAME = 'theia-tiny-patch16-224-cdiv'
REPO = f'theaiinstitute/{NAME}'


DEPTH_REPO = 'LiheYoung/depth-anything-large-hf'
ARRAYS = {
    'head.conv3.weight': np.linspace(-1, 1, 32, dtype=np.float32).reshape(1, 32, 1, 1),
    'head.conv3.bias': np.array([0.25], np.float32),
    'head.conv2.weight': np.ones((32, 128, 3, 3), np.float32),
    'neck.bulk': np.zeros((512, 1024), np.float32),
}
OTHER = r'expected sha256 eb6b59b7a41e.*found d9298a10d1b0'


def silent(line):
    """Take a report."""


@pytest.fixture
def model(hub):
    """The weights, as the hub has them."""
    hub.add(REPO, 'config.json', b'{"backbone": "x"}', large=False)
    hub.add(REPO, 'model.safetensors', weights())
    return model_assets(NAME)[1]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_file_is_recorded_with_where_it_came_from(hub, model):
    fetch(model, accepted=True, report=silent)
    assert model.path.read_bytes() == weights()
    assert names(model.path.parent) == ['SOURCE.json', 'model.safetensors']
    record = json.loads((model.path.parent / 'SOURCE.json').read_text())['files'][
        'model.safetensors'
    ]
    assert record['repo'] == REPO
    assert record['revision'] == COMMIT
    assert record['etag'] == record['sha256'] == sha256(weights())
    assert record['size'] == len(weights())
    assert record['licence'] == 'The AI Institute, non-commercial research only'
    assert record['licence_accepted'] is True
    assert record['fetched'].endswith('+00:00')
    assert store.check(model, hashed=True).state is store.State.INTACT


def test_content_is_that_of_one_commit(hub, model):
    fetch(model, accepted=True, report=silent)
    assert f'/{REPO}/resolve/{COMMIT}/model.safetensors' in hub.gets()


def test_altered_content_is_not_kept(hub, model):
    hub.altered = True
    with pytest.raises(WeightsError, match=f'expected sha256 {sha256(weights())}, found'):
        fetch(model, accepted=True, report=silent)
    assert names(model.path.parent) == []
    hub.altered = False
    fetch(model, accepted=True, report=silent)
    assert store.check(model, hashed=True).state is store.State.INTACT


def test_old_file_stays_until_the_new_one_is_whole(hub, model):
    fetch(model, accepted=True, report=silent)
    hub.add(REPO, 'model.safetensors', weights(tensors=4))
    hub.drops = [0] * 5
    with pytest.raises(WeightsError, match='tried 5 times'):
        fetch(model, accepted=True, report=silent)
    assert model.path.read_bytes() == weights()
    assert store.check(model, hashed=True).state is store.State.INTACT
    fetch(model, accepted=True, report=silent)
    assert model.path.read_bytes() == weights(tensors=4)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'<!DOCTYPE html><p>Log in to this network', 'no safetensors file'),
        (weights()[:-4], 'ends at byte'),
        ((1 << 40).to_bytes(8, 'little') + weights()[8:], 'claims a header of 1099511627776'),
        (weights()[:8] + b'!' + weights()[9:], 'its header is not JSON'),
    ],
    ids=['a-page', 'truncated', 'huge-header', 'no-json'],
)
def test_weights_must_be_a_safetensors_file(hub, model, content, message):
    hub.add(REPO, 'model.safetensors', content)
    with pytest.raises(WeightsError, match=f'{REPO}/model.safetensors came damaged.*{message}'):
        fetch(model, accepted=True, report=silent)
    assert names(model.path.parent) == []


@pytest.mark.parametrize('content', [b'<html>', b'[1]', b'\xff'])
def test_configuration_must_be_json(hub, model, content):
    hub.add(REPO, 'config.json', content, large=False)
    config = model_assets(NAME)[0]
    with pytest.raises(WeightsError, match=r'config.json came damaged or altered: it is no'):
        fetch(config, accepted=True, report=silent)
    assert not config.path.exists()


class TestDecoder:
    """A few tensors out of a large file."""

    @pytest.fixture
    def large(self):
        return save(ARRAYS)

    @pytest.fixture
    def decoder(self, hub, large):
        hub.add(DEPTH_REPO, 'model.safetensors', large)
        return decoder_asset('depth_anything')

    def test_only_wanted_tensors_travel(self, hub, decoder, large):
        fetch(decoder, accepted=False, report=silent)
        tensors = load_file(decoder.path)
        assert set(tensors) == {'head.conv3.weight', 'head.conv3.bias'}
        for name, array in tensors.items():
            np.testing.assert_array_equal(array, ARRAYS[name])
        header_size = int.from_bytes(large[:8], 'little')
        assert hub.sent == 8 + header_size + 33 * 4
        record = store.read_records(decoder.path.parent)[decoder.path.name]
        assert record.etag == sha256(large)
        assert record.sha256 == sha256(decoder.path.read_bytes())
        assert record.tensors == ('head.conv3.weight', 'head.conv3.bias')

    def test_server_without_ranges_is_not_asked_for_everything(self, hub, decoder):
        hub.ranges = False
        with pytest.raises(WeightsError, match=r'the whole file has 2 MB and is not downloaded'):
            fetch(decoder, accepted=False, report=silent)
        assert not decoder.path.parent.exists()

    @pytest.mark.parametrize(
        ('forge', 'message'),
        [
            (lambda file: b'\xff' * 8 + file[8:], 'claims a header of 18446744073709551615'),
            (lambda file: file[:8] + b'?' + file[9:], 'its header is not JSON'),
            (lambda file: file[:-8], 'neck.bulk ends at byte'),
            (lambda file: file.replace(b'head.conv3.bias', b'head.conv4.bias'), 'no tensor head'),
            (lambda file: file.replace(b'"F32"', b'"F16"', 1), 'for F16'),
            (lambda file: b'', 'claims a header of 0 bytes'),
        ],
        ids=['huge', 'no-json', 'outside', 'missing', 'wrong-type', 'empty'],
    )
    def test_lying_header_is_refused(self, hub, decoder, large, forge, message):
        hub.add(DEPTH_REPO, 'model.safetensors', forge(large))
        with pytest.raises(
            WeightsError,
            match=f'^LiheYoung/depth-anything-large-hf/model.safetensors: .*{message}',
        ):
            fetch(decoder, accepted=False, report=silent)
        assert hub.sent < 10_000
        assert not decoder.path.exists()

    def test_other_count_of_numbers_than_known_is_told(self, hub, decoder):
        lines = []
        fetch(dataclasses.replace(decoder, numbers=34), accepted=False, report=lines.append)
        assert 'holds 33 numbers where 34 were expected' in lines[-1]


class TestStatistics:
    def test_content_must_be_the_published_one(self, hub):
        asset = statistics_assets('sam')[0]
        hub.add(asset.repo, asset.file, b'other', large=False)
        with pytest.raises(WeightsError, match=OTHER):
            fetch(asset, accepted=True, report=silent)
        assert not asset.path.exists()
        assert list(partial_files(asset.path)) == []

    def test_user_may_bring_the_files(self, tmp_path):
        asset = dataclasses.replace(statistics_assets('sam')[0], sha256=sha256(b'numbers'))
        (tmp_path / asset.path.name).write_bytes(b'numbers')
        copy(asset, tmp_path)
        assert asset.path.read_bytes() == b'numbers'
        assert store.check(asset, hashed=True).state is store.State.INTACT
        assert names(asset.path.parent) == ['SOURCE.json', asset.path.name]

    def test_users_files_are_checked_too(self, tmp_path):
        asset = statistics_assets('sam')[0]
        with pytest.raises(WeightsError, match=f'{asset.path.name} cannot be read: No such file'):
            copy(asset, tmp_path)
        (tmp_path / asset.path.name).write_bytes(b'other')
        with pytest.raises(WeightsError, match=OTHER):
            copy(asset, tmp_path)
        assert not asset.path.exists()
