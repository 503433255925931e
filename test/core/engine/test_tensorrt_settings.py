from __future__ import annotations

import pytest
import torch

from theia_ros.engine.tensorrt_settings import as_arguments
from theia_ros.engine.tensorrt_settings import settings

COMMON = {
    'require_full_compilation': True,
    'min_block_size': 1,
    'assume_dynamic_shape_support': True,
    'disable_tf32': True,
}
# What `convert_exported_program_to_serialized_trt_engine` accepts, of all that is given here,
# read from the packages of each version.
ACCEPTED = {
    '2.5.0': {'enabled_precisions'},
    '2.6.0': {'enabled_precisions', 'use_explicit_typing', 'use_fp32_acc'},
    '2.7.0': {'enabled_precisions', 'use_explicit_typing', 'use_fp32_acc'},
    '2.8.0': {'enabled_precisions', 'use_explicit_typing', 'use_fp32_acc'},
    '2.10.0': {'enabled_precisions', 'use_explicit_typing', 'use_fp32_acc'},
    '2.11.0': {'enabled_precisions', 'use_explicit_typing', 'use_fp32_acc'},
    '2.12.1': {'enabled_precisions', 'use_explicit_typing', 'use_fp32_acc'},
    '2.13.0': {'use_fp32_acc'},
    '2.14.0': {'use_fp32_acc'},
}


@pytest.mark.parametrize('version', ACCEPTED)
@pytest.mark.parametrize('precision', ['fp32', 'fp16', 'bf16'])
def test_each_version_gets_what_it_accepts(precision: str, version: str) -> None:
    chosen = settings(version, precision)
    assert COMMON.items() <= chosen.items()
    assert set(chosen) - set(COMMON) == ACCEPTED[version]


@pytest.mark.parametrize(
    ('version', 'precision', 'expected'),
    [
        ('2.5.0', 'fp32', {'enabled_precisions': ['float32']}),
        ('2.5.0', 'fp16', {'enabled_precisions': ['float32', 'float16']}),
        ('2.5.0', 'bf16', {'enabled_precisions': ['float32', 'bfloat16']}),
        (
            '2.6.0',
            'fp16',
            {
                'enabled_precisions': ['float32'],
                'use_explicit_typing': True,
                'use_fp32_acc': True,
            },
        ),
        (
            '2.12.1',
            'bf16',
            {
                'enabled_precisions': ['float32'],
                'use_explicit_typing': True,
                'use_fp32_acc': False,
            },
        ),
        ('2.13.0', 'fp32', {'use_fp32_acc': False}),
        ('2.13.0', 'fp16', {'use_fp32_acc': True}),
        ('2.14.0+cu132', 'fp16', {'use_fp32_acc': True}),
        ('2.14.0.dev20260801', 'bf16', {'use_fp32_acc': False}),
        ('3.0', 'fp16', {'use_fp32_acc': True}),
    ],
)
def test_settings(version: str, precision: str, expected: dict[str, object]) -> None:
    assert settings(version, precision) == COMMON | expected


@pytest.mark.parametrize(
    ('version', 'message'),
    [
        ('2.4.0', r'Torch-TensorRT 2\.4\.0 is too old; use 2\.5 or newer'),
        ('1.4.0', r'Torch-TensorRT 1\.4\.0 is too old; use 2\.5 or newer'),
        ('newest', "'newest' is not a version of Torch-TensorRT"),
    ],
)
def test_versions_that_are_none(version: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(version, 'fp16')


def test_types_are_named_in_the_settings_and_given_to_the_compiler() -> None:
    plain = settings('2.5.0', 'fp16')
    given = as_arguments(plain)
    assert given['enabled_precisions'] == {torch.float32, torch.float16}
    assert {k: v for k, v in given.items() if k != 'enabled_precisions'} == COMMON
    assert as_arguments(settings('2.13.0', 'bf16')) == settings('2.13.0', 'bf16')
