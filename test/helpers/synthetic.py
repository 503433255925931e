"""Official-shaped model folders with synthetic parameters: nothing in them was trained.

Every number follows the rule of `test/data/golden_rule.py`, so that what the published code gives
for the same numbers (`test/data/goldens/`) can be compared with ours.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

DATA = Path(__file__).parents[1] / 'data'


def _load_rule():
    # By path: a folder called `data` is no package name to occupy.
    spec = importlib.util.spec_from_file_location('golden_rule', DATA / 'golden_rule.py')
    rule = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rule)
    return rule


golden_rule = _load_rule()

KEYS = {
    'vit': 'google/vit-huge-patch14-224-in21k',
    'dinov2': 'facebook/dinov2-large',
    'clip': 'openai/clip-vit-large-patch14',
    'sam': 'facebook/sam-vit-huge',
    'depth_anything': 'LiheYoung/depth-anything-large-hf',
}
"""Names of the teachers in checkpoints; written out, so that tests do not trust our catalogue."""

ALL_TEACHERS = tuple(KEYS)


def goldens(name: str):
    """Open outputs of the published code, such as `decoders` or `sam_decoder`."""
    return np.load(DATA / 'goldens' / f'{name}.npz')


def write_model(folder: Path, size: str = 'tiny', teachers: Sequence[str] = ALL_TEACHERS) -> Path:
    """Write `config.json` and `model.safetensors` as they are published, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {KEYS[t]: golden_rule.TEACHERS[KEYS[t]] for t in teachers}
    config = {
        'architectures': ['TheiaModel'],
        'backbone': f'facebook/deit-{size}-patch16-224',
        'forward_neck': False,
        'image_size': 224,
        'target_feature_sizes': {key: list(shape) for key, shape in sizes.items()},
        'torch_dtype': 'float32',
        'translator_hidden_size_factor': 1.0,
        'translator_type': 'lconv',
    }
    (folder / 'config.json').write_text(json.dumps(config, indent=2, sort_keys=True))
    _save(folder / 'model.safetensors', model_shapes(size, teachers))
    return folder


def write_statistics(folder: Path, teachers: Sequence[str] = ALL_TEACHERS) -> None:
    """Write `statistics/`, under the published file names."""
    statistics = folder / 'statistics'
    statistics.mkdir(parents=True, exist_ok=True)
    for teacher in teachers:
        key = KEYS[teacher]
        channels, stem = golden_rule.TEACHERS[key][0], key.replace('/', '_')
        np.save(statistics / f'imagenet_mean_{stem}.npy', golden_rule.feature_mean(key, channels))
        np.save(statistics / f'imagenet_var_{stem}.npy', golden_rule.feature_std(key, channels))


def write_decoder_parts(folder: Path) -> None:
    """Write `decoders/`: the head of Depth Anything, prompt encoder and mask decoder of SAM."""
    (folder / 'decoders').mkdir(parents=True, exist_ok=True)
    _save(folder / 'decoders' / 'depth_anything.safetensors', DEPTH_SHAPES)
    _save(folder / 'decoders' / 'sam.safetensors', sam_shapes())


def parameters(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Return the synthetic parameter of each name."""
    made = {name: golden_rule.param(name, shape) for name, shape in shapes.items()}
    # One tensor under two names: the rule would give two.
    copy = 'prompt_encoder.shared_embedding.positional_embedding'
    if copy in made:
        made[copy] = made['shared_image_embedding.positional_embedding'].copy()
    return made


def _save(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    save_file(parameters(shapes), path)


DEPTH_SHAPES = {'head.conv3.weight': (1, 32, 1, 1), 'head.conv3.bias': (1,)}


def sam_shapes() -> dict[str, tuple[int, ...]]:
    """Return the 138 tensors of SAM that stand in the list of the published code's outputs."""
    lines = (str(line).split(' ', 1) for line in goldens('sam_decoder')['keys'])
    return {
        name: tuple(int(n) for n in shape.strip('()').split(',') if n.strip())
        for name, shape in lines
    }


def model_shapes(size: str, teachers: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return the tensors of a published checkpoint."""
    width, _, inner = golden_rule.DEIT[size]
    root = 'backbone.model'
    shapes: dict[str, tuple[int, ...]] = {
        f'{root}.embeddings.cls_token': (1, 1, width),
        f'{root}.embeddings.position_embeddings': (1, 197, width),
        f'{root}.embeddings.patch_embeddings.projection.weight': (width, 3, 16, 16),
        f'{root}.embeddings.patch_embeddings.projection.bias': (width,),
        f'{root}.layernorm.weight': (width,),
        f'{root}.layernorm.bias': (width,),
    }
    for i in range(12):
        layer = f'{root}.encoder.layer.{i}'
        linear = {
            **{f'attention.attention.{p}': (width, width) for p in ('query', 'key', 'value')},
            'attention.output.dense': (width, width),
            'intermediate.dense': (inner, width),
            'output.dense': (width, inner),
            'layernorm_before': (width,),
            'layernorm_after': (width,),
        }
        for name, shape in linear.items():
            shapes[f'{layer}.{name}.weight'] = shape
            shapes[f'{layer}.{name}.bias'] = shape[:1]
    for teacher in teachers:
        shapes.update(_head_shapes(KEYS[teacher], width))
    return shapes


def _head_shapes(key: str, width: int) -> dict[str, tuple[int, ...]]:
    channels, h, _ = golden_rule.TEACHERS[key]
    kernel = (width, width, 3, 3)
    sides = (16, 16, 16) if h == 16 else (16, 31, 64)
    head = f'translator.translator_heads.{key}'
    shapes: dict[str, tuple[int, ...]] = {f'{head}.pad.1.weight': kernel}
    shapes[f'{head}.pad.1.bias'] = (width,)
    for step, side in zip((0, 3, 6), sides, strict=True):
        shapes[f'{head}.adapter.{step}.weight'] = (width, side, side)
        shapes[f'{head}.adapter.{step}.bias'] = (width, side, side)
    for step in (1, 4):
        shapes[f'{head}.adapter.{step}.weight'] = kernel
        shapes[f'{head}.adapter.{step}.bias'] = (width,)
    shapes[f'{head}.adapter.8.weight'] = (channels, width)
    shapes[f'{head}.adapter.8.bias'] = (channels,)
    return shapes
