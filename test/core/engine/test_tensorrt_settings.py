from __future__ import annotations

import pytest
import torch

from theia_ros.engine.tensorrt_settings import as_arguments
from theia_ros.engine.tensorrt_settings import misfit
from theia_ros.engine.tensorrt_settings import RELEASES
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
    '2.9.0': {'enabled_precisions', 'use_explicit_typing', 'use_fp32_acc'},
    '2.10.0': {'enabled_precisions', 'use_explicit_typing', 'use_fp32_acc'},
    '2.11.0': {'enabled_precisions', 'use_explicit_typing', 'use_fp32_acc'},
    '2.12.1': {'enabled_precisions', 'use_explicit_typing', 'use_fp32_acc'},
    '2.13.0': {'use_fp32_acc'},
    '2.14.0': {'use_fp32_acc'},
}
# Their casts, in `aten_ops_converters.py` of each, do not go to bfloat16.
NO_BF16 = ('2.5.0', '2.6.0', '2.7.0')


@pytest.mark.parametrize('version', ACCEPTED)
@pytest.mark.parametrize('precision', ['fp32', 'fp16', 'bf16'])
def test_each_version_gets_what_it_accepts(precision: str, version: str) -> None:
    if precision == 'bf16' and version in NO_BF16:
        with pytest.raises(ValueError, match=f'{version} converts no casts to bfloat16; use prec'):
            settings(version, precision)
        return
    chosen = settings(version, precision)
    assert COMMON.items() <= chosen.items()
    assert set(chosen) - set(COMMON) == ACCEPTED[version]


@pytest.mark.parametrize(
    ('version', 'precision', 'expected'),
    [
        ('2.5.0', 'fp32', {'enabled_precisions': ['float32']}),
        ('2.5.0', 'fp16', {'enabled_precisions': ['float32', 'float16']}),
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


def test_each_release_has_its_settings() -> None:
    for number in RELEASES:
        assert any(version.startswith(f'{number}.') for version in ACCEPTED), number


@pytest.mark.parametrize(
    ('installed', 'torch_version', 'cuda'),
    [
        ({}, '2.13.0+cpu', ''),
        ({'tensorrt': '10.3.0'}, '2.5.0a0+872d972e41.nv24.08', '12.6'),
        ({'torch-tensorrt': '2.5.0', 'tensorrt-cu12': '10.3.0'}, '2.5.1+cu124', '12.4'),
        # JetPack 6 has its own TensorRT, whatever the version of Torch-TensorRT.
        ({'torch-tensorrt': '2.8.0', 'tensorrt': '10.3.0'}, '2.8.0', '12.6'),
        ({'torch-tensorrt': '2.8.0', 'tensorrt': '10.12.0.36'}, '2.8.0+cu128', '12.8'),
        ({'torch-tensorrt': '2.14.0', 'tensorrt-cu13': '11.1.0.106'}, '2.14.1', '13.0'),
        ({'torch-tensorrt-rtx': '2.13.0', 'tensorrt-rtx-cu13': '1.5.0.114'}, '2.13.0', '13.0'),
        ({'torch-tensorrt': '2.13.0'}, '2.13.0+cpu', ''),
        ({'torch-tensorrt': '3.1.0', 'tensorrt': '14.0'}, '3.1.0', '15.0'),
    ],
)
def test_what_fits_together(installed, torch_version: str, cuda: str) -> None:
    assert misfit(installed, torch_version, cuda) == ''


@pytest.mark.parametrize(
    ('installed', 'torch_version', 'cuda', 'said'),
    [
        (
            {'torch-tensorrt': '2.8.0', 'tensorrt': '10.12.0'},
            '2.13.0',
            '13.0',
            'torch-tensorrt 2.8.0 is for torch 2.8, found 2.13.0',
        ),
        (
            {'torch-tensorrt': '2.13.0', 'tensorrt': '10.3.0'},
            '2.13.0',
            '13.0',
            'torch-tensorrt 2.13.0 is for tensorrt 11.0, found 10.3.0',
        ),
        (
            {'torch-tensorrt': '2.12.1', 'tensorrt-cu12': '10.16.1'},
            '2.12.0',
            '13.0',
            'tensorrt-cu12 is for CUDA 12, torch 2.12.0 for CUDA 13.0',
        ),
        (
            {'torch-tensorrt-rtx': '2.13.0', 'tensorrt-rtx': '1.4.0.76'},
            '2.13.0',
            '13.0',
            'torch-tensorrt-rtx 2.13.0 is for tensorrt-rtx 1.5, found 1.4.0.76',
        ),
        (
            {'torch-tensorrt': '2.13.0', 'torch-tensorrt-rtx': '2.13.0'},
            '2.13.0',
            '13.0',
            'torch-tensorrt and torch-tensorrt-rtx are both installed, and each hides the other',
        ),
        (
            {'torch-tensorrt': 'unknown'},
            '2.13.0',
            '',
            "'unknown' is not a version of Torch-TensorRT",
        ),
    ],
)
def test_what_does_not_fit(installed, torch_version: str, cuda: str, said: str) -> None:
    assert misfit(installed, torch_version, cuda) == said
