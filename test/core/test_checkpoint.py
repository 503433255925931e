from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import synthetic
from safetensors.torch import load_file
from safetensors.torch import save_file

from theia_ros import checkpoint
from theia_ros.errors import WeightsError

LAYER = 'backbone.model.encoder.layer.3'


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(tiny_folder, tmp_path / 'model'))


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / 'model.safetensors')
    change(tensors)
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / 'model.safetensors')


def change_config(folder: Path, **entries: object) -> None:
    path = folder / 'config.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def refusal(folder: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        checkpoint.load(folder)
    message = str(caught.value)
    assert '\n' not in message
    return message


def renamed_by_transformers_5(key: str) -> str:
    if not key.startswith('backbone.'):
        return key
    for published, renamed in (
        ('encoder.layer.', 'layers.'),
        ('attention.attention.query', 'attention.q_proj'),
        ('attention.attention.key', 'attention.k_proj'),
        ('attention.attention.value', 'attention.v_proj'),
        ('attention.output.dense', 'attention.o_proj'),
        ('intermediate.dense', 'mlp.fc1'),
        ('output.dense', 'mlp.fc2'),
    ):
        key = key.replace(published, renamed)
    return key


def test_both_key_namings_give_the_same_model(tiny_folder: Path, folder: Path) -> None:
    def rename(tensors: dict[str, torch.Tensor]) -> None:
        for key in list(tensors):
            tensors[renamed_by_transformers_5(key)] = tensors.pop(key)

    change_tensors(folder, rename)
    keys = set(load_file(folder / 'model.safetensors'))
    assert 'backbone.model.layers.11.mlp.fc2.bias' in keys
    assert not any('encoder.layer' in key for key in keys)
    ours = checkpoint.load(folder).state_dict()
    theirs = checkpoint.load(tiny_folder).state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize(
    ('size', 'teachers', 'tensors'),
    [
        pytest.param('tiny', ('vit', 'dinov2', 'clip'), 240, id='tiny-cdiv'),
        pytest.param('tiny', synthetic.ALL_TEACHERS, 268, id='tiny-cddsv'),
        pytest.param('small', (), 198, id='small-backbone-only'),
    ],
)
def test_published_shapes_load(tmp_path: Path, size, teachers, tensors) -> None:
    folder = synthetic.write_model(tmp_path, size, teachers)
    assert len(load_file(folder / 'model.safetensors')) == tensors
    model = checkpoint.load(folder)
    assert model.config.student == size
    assert model.config.teachers == teachers


def test_half_precision_files_load_as_float32(folder: Path, tiny_folder: Path) -> None:
    change_tensors(folder, lambda t: t.update({k: v.half() for k, v in t.items()}))
    loaded = checkpoint.load(folder).state_dict()
    reference = checkpoint.load(tiny_folder).state_dict()
    for key, tensor in loaded.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, reference[key].half().float()), key


def test_a_missing_tensor_is_named(folder: Path) -> None:
    change_tensors(folder, lambda t: t.pop(f'{LAYER}.output.dense.bias'))
    message = refusal(folder)
    assert f'268 tensors expected, 1 missing (first: {LAYER}.output.dense.bias)' in message


def test_an_extra_tensor_is_named(folder: Path) -> None:
    change_tensors(folder, lambda t: t.update({'backbone.model.pooler.weight': torch.ones(2)}))
    assert '1 unexpected (first: backbone.model.pooler.weight)' in refusal(folder)


def test_a_wrong_shape_tells_both_shapes(folder: Path) -> None:
    key = f'{LAYER}.intermediate.dense.weight'
    change_tensors(folder, lambda t: t.update({key: torch.ones(767, 192)}))
    assert f'{key} has shape (767, 192); expected (768, 192)' in refusal(folder)


def test_weights_that_are_not_numbers_are_refused(folder: Path) -> None:
    key = f'{LAYER}.layernorm_before.weight'
    change_tensors(folder, lambda t: t[key].fill_(float('nan')))
    assert f'{key} holds NaN or infinity' in refusal(folder)


def test_integers_are_refused(folder: Path) -> None:
    key = f'{LAYER}.layernorm_before.weight'
    change_tensors(folder, lambda t: t.update({key: torch.ones(192, dtype=torch.int32)}))
    assert f'{key} holds torch.int32; expected floating point' in refusal(folder)


def test_a_tensor_under_two_names_must_have_one_value(folder: Path) -> None:
    key = f'{LAYER}.output.dense.bias'
    renamed = renamed_by_transformers_5(key)
    change_tensors(folder, lambda t: t.update({renamed: t[key] + 1}))
    assert f'{key} is there twice, and the two differ' in refusal(folder)


@pytest.mark.parametrize('keep', [0, 7, 5000], ids=['empty', 'half-header', 'half-data'])
def test_a_truncated_file_is_refused(folder: Path, keep: int) -> None:
    path = folder / 'model.safetensors'
    path.write_bytes(path.read_bytes()[:keep])
    assert 'no whole safetensors file' in refusal(folder)


def test_a_pickle_is_refused(folder: Path) -> None:
    torch.save({'a': torch.ones(1)}, folder / 'model.safetensors')
    assert 'no whole safetensors file' in refusal(folder)


@pytest.mark.parametrize('name', ['config.json', 'model.safetensors'])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert name in refusal(folder)


@pytest.mark.parametrize(
    ('entries', 'said'),
    [
        pytest.param({'backbone': 'facebook/deit-huge-patch16-224'}, 'deit-huge', id='size'),
        pytest.param({'backbone': 'reg-facebook/deit-tiny-patch16-224'}, 'reg-', id='registers'),
        pytest.param({'backbone': None}, "backbone 'None'", id='no-backbone'),
        pytest.param({'translator_type': 'mlp'}, "translator_type 'mlp'", id='translator'),
        pytest.param({'translator_hidden_size_factor': 2.0}, 'factor 2.0', id='hidden'),
        pytest.param({'target_feature_sizes': {'a/b': [1, 2, 2]}}, "teacher 'a/b'", id='teacher'),
        pytest.param(
            {'target_feature_sizes': {'facebook/dinov2-large': [1024, 14, 14]}},
            'size [1024, 14, 14]; expected [1024, 16, 16]',
            id='grid',
        ),
        pytest.param({'layer_norm_eps': 'x'}, "layer_norm_eps 'x'", id='eps'),
    ],
)
def test_a_configuration_that_is_not_ours_is_refused(folder: Path, entries, said) -> None:
    change_config(folder, **entries)
    assert said in refusal(folder)


@pytest.mark.parametrize('text', ['', '{', '[1]', 'null'])
def test_a_configuration_that_is_no_object_is_refused(folder: Path, text: str) -> None:
    (folder / 'config.json').write_text(text)
    assert 'config.json' in refusal(folder)


def test_a_smaller_configuration_than_the_weights_is_refused(folder: Path) -> None:
    change_config(folder, target_feature_sizes={})
    assert '70 unexpected' in refusal(folder)


def test_layer_norm_eps_of_the_configuration_is_used(folder: Path) -> None:
    change_config(folder, layer_norm_eps=1e-6)
    model = checkpoint.load(folder)
    assert model.backbone.norm.eps == model.backbone.layers[0].norm1.eps == 1e-6
    assert model.heads['sam'][1].eps == 1e-5


def test_the_checksum_is_that_of_the_file(tmp_path: Path) -> None:
    (tmp_path / 'model.safetensors').write_bytes(b'abc')
    assert checkpoint.weights_sha256(tmp_path) == (
        'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
    )


def test_loaded_weights_are_frozen_float32_on_the_cpu(tiny_folder: Path) -> None:
    model = checkpoint.load(tiny_folder)
    assert not model.training
    for name, parameter in model.named_parameters():
        assert not parameter.requires_grad, name
        assert parameter.dtype == torch.float32
        assert parameter.device.type == 'cpu'
    assert sum(p.numel() for p in model.parameters()) == 16_166_944
    np.testing.assert_array_equal(model.get_buffer('normalised')[[0, 255]], [-1.0, 1.0])


def test_what_is_stored_is_what_was_published(tiny_folder: Path, tmp_path: Path) -> None:
    files = checkpoint.files_of(checkpoint.load(tiny_folder))
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    published = load_file(tiny_folder / 'model.safetensors')
    stored = load_file(tmp_path / 'model.safetensors')
    assert stored.keys() == published.keys()
    assert all(torch.equal(stored[key], published[key]) for key in published)
    ours, theirs = (json.loads((f / 'config.json').read_text()) for f in (tmp_path, tiny_folder))
    assert {key: ours[key] for key in theirs if key != 'architectures'} == {
        key: theirs[key] for key in theirs if key != 'architectures'
    }


def test_half_precision_is_stored_in_half_the_room(tiny_folder: Path, tmp_path: Path) -> None:
    model = checkpoint.load(tiny_folder)
    files = checkpoint.files_of(model, torch.float16, {'classes': ['cube']})
    assert len(files['model.safetensors']) < 0.51 * len(
        (tiny_folder / 'model.safetensors').read_bytes()
    )
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert json.loads(files['config.json'])['classes'] == ['cube']
    loaded = checkpoint.load(tmp_path).state_dict()
    for key, tensor in model.state_dict().items():
        assert torch.equal(loaded[key], tensor.half().float()), key
