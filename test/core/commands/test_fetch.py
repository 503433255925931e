import json

import numpy as np
import pytest
from helpers import synthetic
from helpers.hub_server import sha256
from helpers.hub_server import weights
from safetensors.numpy import load_file
from safetensors.numpy import save

from theia_ros import checkpoint
from theia_ros import parts
from theia_ros.catalog import cache_folder
from theia_ros.catalog import find_model
from theia_ros.catalog import MODELS
from theia_ros.catalog import TEACHERS
from theia_ros.cli import main
from theia_ros.decoders import depth
from theia_ros.decoders import sam
from theia_ros.demo import model as demo_model
from theia_ros.errors import WeightsError
from theia_ros.hub import sources

NAME = 'theia-tiny-patch16-224-cdiv'
REPO = f'theaiinstitute/{NAME}'
ALL = 'theia-tiny-patch16-224-cddsv'


@pytest.fixture
def model(hub):
    """A small file that is called as the weights are."""
    hub.add(REPO, 'config.json', b'{"backbone": "x"}', large=False)
    hub.add(REPO, 'model.safetensors', weights())
    return hub


def fetch(*arguments):
    return main(['fetch', NAME, '--accept-licence', '--no-decoders', *arguments])


def folder(name=NAME):
    return cache_folder() / 'models' / name


def files(below):
    return sorted(str(path.relative_to(below)) for path in below.rglob('*') if path.is_file())


def failure(capsys):
    """Return the error, which is one line."""
    error = capsys.readouterr().err
    assert error.startswith('theia-ros fetch: ')
    assert error.count('\n') == 1
    return error


def surrounded(path):
    """The tensors of a file, as a small part of a larger one."""
    bulk = {f'{name}.bulk': np.zeros((512, 1024), np.float32) for name in ('a', 'vision_encoder')}
    return save({**load_file(path), **bulk})


class TestWholeModel:
    """All of a model, as large as it is published, from the hub to what loads it."""

    @pytest.fixture
    def published(self, hub, tiny_folder, tmp_path, monkeypatch):
        for file in ('config.json', 'model.safetensors'):
            content = (tiny_folder / file).read_bytes()
            hub.add(f'theaiinstitute/{ALL}', file, content, large=file != 'config.json')
        synthetic.write_decoder_parts(tmp_path)
        synthetic.write_statistics(tmp_path)
        for teacher in ('sam', 'depth_anything'):
            content = surrounded(tmp_path / 'decoders' / f'{teacher}.safetensors')
            hub.add(TEACHERS[teacher].key, 'model.safetensors', content)
        for path in (tmp_path / 'statistics').iterdir():
            content = path.read_bytes()
            hub.add(sources.STATISTICS_REPO, f'feature_stats/{path.name}', content, large=False)
            monkeypatch.setitem(sources.STATISTICS_SHA256, path.name, sha256(content))
        return hub

    def test_everything_that_decoding_needs_comes_with_it(self, published, capsys):
        assert main(['fetch', ALL, '--accept-licence']) == 0
        output = capsys.readouterr()
        assert output.err == ''
        assert 'licence of the weights, the feature statistics: The AI Inst' in output.out
        assert "licence of the teachers' decoders: Apache-2.0" in output.out
        assert f'{ALL}: intact in {folder(ALL)}, with 12 files for decoding\n' in output.out
        assert files(cache_folder()) == sorted(
            [
                '.fetch.lock',
                'decoders/SOURCE.json',
                'decoders/depth_anything.safetensors',
                'decoders/sam.safetensors',
                f'models/{ALL}/SOURCE.json',
                f'models/{ALL}/config.json',
                f'models/{ALL}/model.safetensors',
                'statistics/SOURCE.json',
                *(f'statistics/{name}' for name in sources.STATISTICS_SHA256),
            ]
        )
        kept = sum(path.stat().st_size for path in cache_folder().rglob('*') if path.is_file())
        assert published.sent < kept + 100_000  # headers, and nothing of the bulk

        model = checkpoint.load(find_model(ALL))
        assert model.backbone.positions.shape == (1, 197, 192)
        sam.load(cache_folder() / 'decoders' / 'sam.safetensors')
        depth.load(cache_folder() / 'decoders' / 'depth_anything.safetensors')
        for teacher, known in TEACHERS.items():
            assert parts.read_statistics(find_model(ALL), teacher).mean.shape == (known.channels,)

        published.requests.clear()
        assert main(['fetch', ALL]) == 0  # asks neither the network nor for the licence again
        assert published.requests == []

    def test_models_that_share_parts_fetch_them_once(self, published, hub, capsys):
        hub.add(REPO, 'config.json', b'{}', large=False)
        hub.add(REPO, 'model.safetensors', weights())
        assert main(['fetch', ALL, NAME, '--accept-licence']) == 0
        paths = published.gets()
        assert len([path for path in paths if 'imagenet_mean_facebook_dinov2' in path]) == 1
        assert f'{NAME}: intact in {folder()}, with 6 files' in capsys.readouterr().out

    def test_user_may_bring_the_statistics(self, published, tmp_path, capsys):
        arguments = [
            'fetch',
            ALL,
            '--accept-licence',
            '--statistics',
            str(tmp_path / 'statistics'),
        ]
        assert main(arguments) == 0
        assert not [path for path in published.gets() if 'feature_stats' in path]
        assert parts.read_statistics(find_model(ALL), 'sam').mean.shape == (256,)
        (tmp_path / 'statistics' / 'imagenet_mean_facebook_sam-vit-huge.npy').write_bytes(b'x')
        assert main(arguments) == 2
        assert 'imagenet_mean_facebook_sam-vit-huge.npy: expected sha256' in failure(capsys)

    def test_server_without_ranges_costs_the_decoders_only(self, published, capsys):
        published.ranges = False
        assert main(['fetch', ALL, '--accept-licence']) == 2
        assert 'is not downloaded unasked' in failure(capsys)
        assert checkpoint.read_config(find_model(ALL)).teachers
        assert main(['fetch', ALL, '--no-decoders']) == 0


class TestLicence:
    def test_it_is_shown_and_must_be_accepted(self, model, capsys):
        assert main(['fetch', NAME]) == 2
        output = capsys.readouterr()
        assert 'for non-commercial research only, companies included' in output.out
        assert 'https://github.com/rai-opensource/theia/blob/main/LICENSE' in output.out
        assert output.err == (
            f'theia-ros fetch: the licence of {NAME} (non-commercial research only) is not '
            'accepted; read it, and if you agree, add --accept-licence\n'
        )
        assert model.requests == []
        assert files(cache_folder()) == ['.fetch.lock']

    def test_acceptance_is_recorded(self, model):
        assert fetch() == 0
        records = json.loads((folder() / 'SOURCE.json').read_text())['files']
        assert [records[file]['licence_accepted'] for file in records] == [True, True]


class TestAgain:
    def test_intact_model_is_told_without_a_network(self, model, capsys, monkeypatch):
        fetch()
        capsys.readouterr()
        monkeypatch.setenv('HF_ENDPOINT', 'http://127.0.0.1:1')
        assert fetch() == 0
        assert capsys.readouterr().out == f'{NAME}: intact in {folder()}\n'

    @pytest.mark.parametrize('file', ['config.json', 'model.safetensors'])
    def test_altered_file_is_told_and_fetched_anew_by_force(self, model, file, capsys):
        fetch()
        content = bytearray((folder() / file).read_bytes())
        content[-1] ^= 1
        (folder() / file).write_bytes(content)
        capsys.readouterr()
        assert fetch() == 2
        error = failure(capsys)
        expected = sha256(model.files[f'/{REPO}/{file}'])
        assert f'{folder() / file}: expected sha256 {expected}, found {sha256(content)}' in error
        assert f'theia-ros fetch {NAME} --accept-licence --force' in error
        assert fetch('--force') == 0
        assert fetch() == 0

    def test_lost_file_is_fetched_alone(self, model):
        fetch()
        (folder() / 'config.json').unlink()
        model.requests.clear()
        assert fetch() == 0
        assert {path.split('/')[-1] for path in model.gets()} == {'config.json'}

    def test_own_file_in_its_place_is_kept(self, model, capsys):
        folder().mkdir(parents=True)
        (folder() / 'model.safetensors').write_bytes(b'mine')
        assert fetch() == 0
        output = capsys.readouterr().out
        assert 'was not fetched by this command; it is kept, and not checked' in output
        assert f'{NAME}: in part unchecked in {folder()}' in output
        assert (folder() / 'model.safetensors').read_bytes() == b'mine'

    def test_other_weights_than_the_published_are_told(self, model, capsys):
        fetch()
        assert f'note that the file published in 2024 has sha256 {MODELS[NAME].sha256}' in (
            capsys.readouterr().out
        )


def set_all(**faults):
    def spoil(hub):
        for name, value in faults.items():
            setattr(hub, name, value)

    return spoil


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        pytest.param(set_all(statuses=[401] * 9), 'says 401 Unauthorized; set HF_TOKEN', id='401'),
        pytest.param(set_all(statuses=[403] * 9), 'says 403 Forbidden; ask for access', id='403'),
        pytest.param(set_all(statuses=[404] * 9), 'says 404 Not Found; check HF_', id='404'),
        pytest.param(set_all(statuses=[429] * 9), '429 Too Many Requests (tried 5', id='429'),
        pytest.param(set_all(statuses=[500] * 9), '500 Internal Server Error (tried 5', id='500'),
        pytest.param(set_all(loop=True), 'redirects more than 10 times', id='redirect-loop'),
        pytest.param(set_all(altered=True), 'altered: it is not JSON; nothing', id='altered'),
        pytest.param(set_all(drops=[1] + [0] * 9), '(tried 5 times)', id='dropped'),
        pytest.param(
            set_all(delivered={'Content-Length': '7'}),
            'sends 7 bytes; it announced 17',
            id='content-length-short',
        ),
        pytest.param(
            set_all(described={'Content-Length': '99'}),
            'sends 17 bytes; it announced 99',
            id='content-length-long',
        ),
    ],
)
def test_fault_is_one_line_and_passes(model, capsys, spoil, message):
    spoil(model)
    assert fetch() == 2
    assert message in failure(capsys)
    assert not (folder() / 'model.safetensors').exists()
    with pytest.raises(WeightsError, match='run: theia-ros fetch'):
        find_model(NAME)
    model.statuses, model.drops, model.loop, model.altered = [], [], False, False
    model.delivered, model.described = {}, {}
    assert fetch() == 0
    assert (folder() / 'model.safetensors').read_bytes() == weights()


def test_two_failures_are_waited_out(model, capsys):
    model.statuses = [500, 503]
    assert fetch() == 0
    output = capsys.readouterr()
    assert output.err == ''
    assert output.out.count('trying again in') == 2


def test_no_network(model, capsys, monkeypatch):
    monkeypatch.setenv('HF_ENDPOINT', 'http://127.0.0.1:1')
    assert fetch() == 2
    assert 'cannot reach 127.0.0.1:1: Connection refused; check the network' in failure(capsys)


def test_offline(model, capsys, monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    assert fetch() == 2
    assert f'models/{NAME}/config.json is not here, and HF_HUB_OFFLINE is set' in failure(capsys)
    monkeypatch.delenv('HF_HUB_OFFLINE')
    fetch()
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    assert fetch() == 0


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['theia-huge'], "unknown model 'theia-huge'; known: theia-tiny-patch16-224-cdiv, "),
        ([NAME, '../etc'], "unknown model '../etc'"),
        ([NAME, '--statistics', '/nowhere'], '--statistics /nowhere: no such folder'),
    ],
)
def test_mistake_is_told_before_anything_is_done(model, capsys, arguments, message):
    assert main(['fetch', '--accept-licence', *arguments]) == 2
    assert message in failure(capsys)
    assert model.requests == []


def test_unwritable_cache(model, capsys, tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('THEIA_ROS_CACHE', str(tmp_path / 'file'))
    assert fetch() == 2
    assert 'cannot be written: File exists; name another' in failure(capsys)


def test_demo_model_is_made_its_own_way(monkeypatch):
    made = []
    monkeypatch.setattr(demo_model, 'prepare', lambda folder, report: made.append(folder))
    assert main(['fetch', 'demo-dinov2-small']) == 0
    assert made == [folder('demo-dinov2-small')]


def test_model_that_is_shipped_is_not_fetched(hub, capsys):
    assert main(['fetch', 'demo-tiny']) == 0
    said = capsys.readouterr()
    assert said.out == (
        'demo-tiny: comes with theia_ros, so there is nothing to fetch; '
        f'intact in {find_model("demo-tiny")}\n'
    )
    assert said.err == ''
    assert hub.requests == []
    assert not cache_folder().exists()


def test_damage_of_a_model_that_is_shipped_is_told(damaged_tiny, capsys):
    assert main(['fetch', 'demo-tiny', '--force']) == 2
    line = failure(capsys)
    assert f'{damaged_tiny}: expected sha256 {MODELS["demo-tiny"].sha256}, found ' in line
    assert line.endswith('; it comes with theia_ros: take a whole copy, and install it again\n')


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit) as caught:
        main(['fetch', '--help'])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert 'theia-ros fetch theia-tiny-patch16-224-cddsv --accept-licence' in text
    assert 'HF_TOKEN' in text
