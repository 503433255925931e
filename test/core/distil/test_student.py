from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import synthetic

from theia_ros import checkpoint
from theia_ros.distil import student
from theia_ros.distil.config import difference
from theia_ros.distil.config import DistilConfig
from theia_ros.distil.truth import OFFSET
from theia_ros.errors import ParameterError


def test_from_scratch_it_is_drawn_from_the_seed() -> None:
    config = DistilConfig(('clip', 'depth'))
    one, same = student.make(config), student.make(config)
    other = student.make(DistilConfig(('clip', 'depth'), seed=1))
    for key, tensor in one.state_dict().items():
        assert torch.equal(tensor, same.state_dict()[key]), key
    patches = one.backbone.patches.weight.detach()
    assert not torch.equal(patches, other.backbone.patches.weight)
    assert patches.std() == pytest.approx(0.02, rel=0.05)
    assert one.backbone.positions.detach().std() == pytest.approx(0.02, rel=0.05)
    assert patches.abs().max() < 0.1
    assert torch.equal(one.backbone.norm.weight, torch.ones(192))
    assert not one.backbone.layers[3].qkv.bias.any()


def test_drawing_it_disturbs_nobody() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    student.make(DistilConfig(('clip',)))
    assert torch.equal(torch.rand(3), expected)


def test_depth_begins_at_the_mean() -> None:
    heads = student.make(DistilConfig(('depth',))).heads
    assert (list(heads['depth'])[-1].bias == OFFSET).all()


def test_it_goes_on_from_a_model_with_the_heads_that_are_there(tiny_folder: Path) -> None:
    config = DistilConfig(('dinov2', 'classes'), init=str(tiny_folder), student='base')
    made, begin = student.make(config), checkpoint.load(tiny_folder)
    assert made.config.student == 'tiny'
    assert made.config.teachers == ('dinov2', 'classes')
    for key, tensor in begin.state_dict().items():
        if key.startswith(('backbone.', 'heads.dinov2.')):
            assert torch.equal(made.state_dict()[key], tensor), key
    assert student.known_heads(config) == ['dinov2']
    assert all(p.requires_grad for p in made.parameters())


def test_a_frozen_backbone_does_not_learn(tiny_folder: Path) -> None:
    made = student.make(DistilConfig(('classes',), init=str(tiny_folder), train='heads'))
    learning = {name.split('.')[0] for name, p in made.named_parameters() if p.requires_grad}
    assert learning == {'heads'}


def test_a_head_that_goes_on_keeps_its_statistics(tmp_path: Path) -> None:
    synthetic.write_model(tmp_path, teachers=('dinov2', 'clip'))
    synthetic.write_statistics(tmp_path, ('dinov2',))
    config = DistilConfig(('dinov2', 'clip', 'depth'), init=str(tmp_path))
    found = student.known_statistics(config)
    assert set(found) == {'dinov2'}
    key = synthetic.KEYS['dinov2']
    expected = synthetic.golden_rule.feature_std(key, 1024)
    assert torch.equal(found['dinov2'].std, torch.from_numpy(expected))


@pytest.mark.parametrize(
    ('settings', 'said'),
    [
        ({'teachers': ()}, '--teachers names none; use vit'),
        ({'teachers': ('magic',)}, "unknown teacher 'magic'; known: vit, dinov2"),
        ({'teachers': ('clip', 'clip')}, '--teachers names one twice: clip, clip'),
        ({'epochs': 0.0}, '--epochs is 0.0; use 0.01 or more'),
        ({'epochs': float('nan')}, '--epochs is nan'),
        ({'batch_size': 0}, '--batch-size is 0; use 1 or more'),
        ({'held_out': 1.0}, '--held-out is 1.0; use 0 to 0.9'),
        ({'warmup': -0.1}, '--warmup is -0.1; use 0 to 1'),
        ({'precision': 'int8'}, "--precision is 'int8'; use fp32, bf16, fp16"),
        ({'train': 'heads'}, '--train heads needs a backbone that is trained'),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else '',
)
def test_settings_that_make_no_sense_are_refused(settings, said: str) -> None:
    with pytest.raises(ParameterError) as caught:
        DistilConfig(**{'teachers': ('clip',), **settings})
    assert said in str(caught.value)


def test_the_published_recipe_is_what_no_setting_gives() -> None:
    """Batches of 16 on 8 devices had a learning rate of 5e-4."""
    config = DistilConfig(('clip',), batch_size=16, accumulate=8)
    assert config.highest_rate == pytest.approx(5e-4)
    assert (config.schedule, config.warmup, config.weight_decay) == ('constant', 0.1, 0.01)
    assert (config.loss, config.epochs) == ('cos_l1', 50)
    assert config.steps_for(1281) == 501  # 50 epochs of 1281 pictures, 128 at a time


def test_the_first_difference_of_two_runs_is_told() -> None:
    assert difference({'a': 1, 'b': 2}, {'a': 1, 'b': 3}) == 'b was 2 and is 3'
    assert difference({'a': 1}, {'a': 1}) == ''
