"""Checkpoint folders: `config.json` and `model.safetensors`, taken strictly or not at all.

Both key namings in use are read: the one of the published files, and the one that newer
versions of transformers give to the same tensors.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from theia_ros.catalog import CONFIG_FILE
from theia_ros.catalog import IMAGE_PX
from theia_ros.catalog import PATCH_PX
from theia_ros.catalog import STUDENTS
from theia_ros.catalog import TARGET_OF_KEY
from theia_ros.catalog import TARGETS
from theia_ros.catalog import WEIGHTS_FILE
from theia_ros.errors import WeightsError
from theia_ros.model import ModelConfig
from theia_ros.model import TheiaModel
from theia_ros.tensor_file import read_tensors

_BACKBONE_NAME = re.compile(r'facebook/deit-(\w+)-patch16-224')
_SUPPORTED = {
    'translator_type': 'lconv',
    'translator_hidden_size_factor': 1.0,
    'forward_neck': False,
}
"""Settings for which the published code has other values too."""


def read_config(folder: Path) -> ModelConfig:
    """Read the shape of the model in a folder.

    Raises:
        WeightsError: The file is missing, no JSON, or describes another kind of model.
    """
    path = folder / CONFIG_FILE
    entries = _read_object(path)
    backbone = str(entries.get('backbone'))
    student = _BACKBONE_NAME.fullmatch(backbone)
    if not student or student[1] not in STUDENTS:
        raise WeightsError(
            f'{path}: backbone {backbone!r} is not supported; expected '
            f'facebook/deit-<size>-patch16-224 with size {", ".join(STUDENTS)}'
        )
    for key, supported in _SUPPORTED.items():
        if entries.get(key, supported) != supported:
            raise WeightsError(
                f'{path}: {key} {entries[key]!r} is not supported; expected {supported!r}'
            )
    teachers = _teachers(path, entries.get('target_feature_sizes') or {})
    eps = entries.get('layer_norm_eps', ModelConfig.layer_norm_eps)
    if not isinstance(eps, float) or not 0 < eps < 1:
        raise WeightsError(f'{path}: layer_norm_eps {eps!r} is not a number between 0 and 1')
    return ModelConfig(student[1], teachers, eps)


def load(folder: Path) -> TheiaModel:
    """Load the model in a folder, in float32 and on the CPU, ready to infer.

    Raises:
        WeightsError: A file is missing or damaged, or its tensors are not exactly those that
            the configuration asks for.
    """
    config = read_config(folder)
    path = folder / WEIGHTS_FILE
    with torch.device('meta'):  # no memory and no random numbers for what is loaded anyway
        model = TheiaModel(config)
    layout = _layout(config)
    expected = {}
    for name, tensor in model.state_dict().items():
        rows, *rest = tensor.shape
        for key in layout[name]:
            expected[key] = (rows // len(layout[name]), *rest)
    stored = read_tensors(path, expected, f'its {CONFIG_FILE}', _published_key)
    state = {name: torch.cat([stored.pop(key) for key in keys]) for name, keys in layout.items()}
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def tensors_of(model: TheiaModel) -> dict[str, Tensor]:
    """Return the weights of a model under their published keys."""
    state = model.state_dict()
    stored: dict[str, Tensor] = {}
    for name, keys in _layout(model.config).items():
        parts = state[name].detach().chunk(len(keys))
        stored |= {key: part.contiguous() for key, part in zip(keys, parts, strict=True)}
    return stored


def config_entries(config: ModelConfig) -> dict[str, Any]:
    """Return what `config.json` says of a model, in the layout of the published ones."""
    entries: dict[str, Any] = {
        'backbone': f'facebook/deit-{config.student}-patch{PATCH_PX}-{IMAGE_PX}',
        'feature_neck': False,
        'feature_reduce_method': None,
        'forward_neck': False,
        'image_size': IMAGE_PX,
        'num_reg_tokens': 0,
        'pretrained': False,
        'target_feature_sizes': {
            TARGETS[name].key: [TARGETS[name].channels, *TARGETS[name].grid_hw]
            for name in config.teachers
        },
        'target_loss_weights': None,
        'torch_dtype': 'float32',
        'translator_hidden_size_factor': 1.0,
        'translator_type': 'lconv',
    }
    if config.layer_norm_eps != ModelConfig.layer_norm_eps:
        entries['layer_norm_eps'] = config.layer_norm_eps
    return entries


def files_of(
    model: TheiaModel, dtype: torch.dtype = torch.float32, extra: Mapping[str, Any] | None = None
) -> dict[str, bytes]:
    """Return the two files of a model's folder, by name, which `load` takes back.

    Args:
        model: To store.
        dtype: Of the stored weights.
        extra: More entries of `config.json`, for people.
    """
    entries = config_entries(model.config) | {'torch_dtype': str(dtype).removeprefix('torch.')}
    text = json.dumps(entries | dict(extra or {}), indent=2, sort_keys=True) + '\n'
    tensors = {key: tensor.to(dtype) for key, tensor in tensors_of(model).items()}
    return {CONFIG_FILE: text.encode(), WEIGHTS_FILE: save(tensors, metadata={'format': 'pt'})}


def weights_sha256(folder: Path) -> str:
    """Return the checksum of the weights in a folder, hexadecimal."""
    digest = hashlib.sha256()
    with (folder / WEIGHTS_FILE).open('rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _read_object(path: Path) -> dict[str, Any]:
    try:
        entries = json.loads(path.read_text())
    except OSError as exc:
        raise WeightsError(f'{path}: {exc.strerror}; every model folder has one') from exc
    except ValueError as exc:
        raise WeightsError(f'{path} is not JSON: {exc}') from exc
    if not isinstance(entries, dict):
        raise WeightsError(f'{path} holds {type(entries).__name__}; expected an object')
    return entries


def _teachers(path: Path, sizes: object) -> tuple[str, ...]:
    """Return the teachers that a configuration gives sizes of, in the catalogue's order."""
    if not isinstance(sizes, dict):
        raise WeightsError(f'{path}: target_feature_sizes must be an object')
    for key, size in sizes.items():
        if key not in TARGET_OF_KEY:
            raise WeightsError(
                f'{path}: unknown teacher {key!r}; known: {", ".join(TARGET_OF_KEY)}'
            )
        teacher = TARGETS[TARGET_OF_KEY[key]]
        expected = [teacher.channels, *teacher.grid_hw]
        if size != expected:
            raise WeightsError(f'{path}: {key} has size {size}; expected {expected}')
    return tuple(name for name, teacher in TARGETS.items() if teacher.key in sizes)


def _layout(config: ModelConfig) -> dict[str, tuple[str, ...]]:
    """Return the published keys of each tensor of our model; several are stacked by rows."""
    both = ('weight', 'bias')
    root = 'backbone.model'
    layout: dict[str, tuple[str, ...]] = {
        'backbone.cls_token': (f'{root}.embeddings.cls_token',),
        'backbone.positions': (f'{root}.embeddings.position_embeddings',),
    }
    for end in both:
        layout[f'backbone.patches.{end}'] = (
            f'{root}.embeddings.patch_embeddings.projection.{end}',
        )
        layout[f'backbone.norm.{end}'] = (f'{root}.layernorm.{end}',)
    for i in range(STUDENTS[config.student].layers):
        ours, theirs = f'backbone.layers.{i}', f'{root}.encoder.layer.{i}'
        for end in both:
            layout[f'{ours}.norm1.{end}'] = (f'{theirs}.layernorm_before.{end}',)
            layout[f'{ours}.qkv.{end}'] = tuple(
                f'{theirs}.attention.attention.{part}.{end}' for part in ('query', 'key', 'value')
            )
            layout[f'{ours}.proj.{end}'] = (f'{theirs}.attention.output.dense.{end}',)
            layout[f'{ours}.norm2.{end}'] = (f'{theirs}.layernorm_after.{end}',)
            layout[f'{ours}.fc1.{end}'] = (f'{theirs}.intermediate.dense.{end}',)
            layout[f'{ours}.fc2.{end}'] = (f'{theirs}.output.dense.{end}',)
    for name in config.teachers:
        theirs = f'translator.translator_heads.{TARGETS[name].key}'
        for end in both:
            layout[f'heads.{name}.0.{end}'] = (f'{theirs}.pad.1.{end}',)
            for step in (0, 1, 3, 4, 6, 8):
                layout[f'heads.{name}.{step + 1}.{end}'] = (f'{theirs}.adapter.{step}.{end}',)
    return layout


# What newer versions of transformers call the same tensors, and the published name.
_RENAMED = (
    ('.model.layers.', '.model.encoder.layer.'),
    ('.attention.q_proj.', '.attention.attention.query.'),
    ('.attention.k_proj.', '.attention.attention.key.'),
    ('.attention.v_proj.', '.attention.attention.value.'),
    ('.attention.o_proj.', '.attention.output.dense.'),
    ('.mlp.fc1.', '.intermediate.dense.'),
    ('.mlp.fc2.', '.output.dense.'),
)


def _published_key(key: str) -> str:
    if key.startswith('backbone.'):
        for renamed, published in _RENAMED:
            key = key.replace(renamed, published)
    return key
