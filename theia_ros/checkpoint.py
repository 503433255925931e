"""Checkpoint folders: `config.json` and `model.safetensors`, taken strictly or not at all.

Both key namings in use are read: the one of the published files, and the one that newer
versions of transformers give to the same tensors.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import torch

from theia_ros.catalog import STUDENTS
from theia_ros.catalog import TEACHER_OF_KEY
from theia_ros.catalog import TEACHERS
from theia_ros.errors import WeightsError
from theia_ros.model import ModelConfig
from theia_ros.model import TheiaModel
from theia_ros.tensor_file import read_tensors

CONFIG_FILE = 'config.json'
WEIGHTS_FILE = 'model.safetensors'

_BACKBONE_NAME = re.compile(r'facebook/deit-(\w+)-patch16-224')


def read_config(folder: Path) -> ModelConfig:
    """Read the shape of the model in a folder.

    Raises:
        WeightsError: The file is missing, no JSON, or describes another kind of model.
    """
    path = folder / CONFIG_FILE
    try:
        entries = json.loads(path.read_text())
    except OSError as exc:
        raise WeightsError(f'{path}: {exc.strerror}; a model folder holds it') from exc
    except ValueError as exc:
        raise WeightsError(f'{path} is not JSON: {exc}') from exc
    if not isinstance(entries, dict):
        raise WeightsError(f'{path} holds {type(entries).__name__}; expected an object')

    backbone = str(entries.get('backbone'))
    student = _BACKBONE_NAME.fullmatch(backbone)
    if not student or student[1] not in STUDENTS:
        raise WeightsError(
            f'{path}: backbone {backbone!r} is not supported; expected '
            f'facebook/deit-<size>-patch16-224 with size {", ".join(STUDENTS)}'
        )
    for key, supported in (
        ('translator_type', 'lconv'),
        ('translator_hidden_size_factor', 1.0),
        ('forward_neck', False),
    ):
        if entries.get(key, supported) != supported:
            raise WeightsError(
                f'{path}: {key} {entries[key]!r} is not supported; expected {supported!r}'
            )
    targets = entries.get('target_feature_sizes') or {}
    if not isinstance(targets, dict):
        raise WeightsError(f'{path}: target_feature_sizes must be an object')
    for key, size in targets.items():
        if key not in TEACHER_OF_KEY:
            raise WeightsError(
                f'{path}: unknown teacher {key!r}; known: {", ".join(TEACHER_OF_KEY)}'
            )
        teacher = TEACHERS[TEACHER_OF_KEY[key]]
        expected = [teacher.channels, *teacher.grid_hw]
        if size != expected:
            raise WeightsError(f'{path}: {key} has size {size}; expected {expected}')
    eps = entries.get('layer_norm_eps', 1e-12)
    if not isinstance(eps, float) or not 0 < eps < 1:
        raise WeightsError(f'{path}: layer_norm_eps {eps!r} is not a number between 0 and 1')
    teachers = tuple(name for name, teacher in TEACHERS.items() if teacher.key in targets)
    return ModelConfig(student[1], teachers, eps)


def load(folder: Path) -> TheiaModel:
    """Load the model in a folder, in float32 and on the CPU, ready to infer.

    Raises:
        WeightsError: A file is missing or damaged, or its tensors are not exactly those that
            the configuration asks for.
    """
    config = read_config(folder)
    path = folder / WEIGHTS_FILE
    with torch.device('meta'):  # no memory and no random numbers for weights that come anyway
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


def weights_sha256(folder: Path) -> str:
    """Return the checksum of the weights in a folder, hexadecimal."""
    digest = hashlib.sha256()
    with (folder / WEIGHTS_FILE).open('rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


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
        theirs = f'translator.translator_heads.{TEACHERS[name].key}'
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
