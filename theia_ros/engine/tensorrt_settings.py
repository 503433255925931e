"""How Torch-TensorRT is asked to compile, for each of its versions: the one place that knows.

What changed, of what is used here:

* 2.5 (JetPack 6) has no explicit typing: TensorRT may choose any enabled precision for a layer,
  and the casts of the model only suggest one.
* 2.6 to 2.12 take `use_explicit_typing`, which makes the casts of the model binding and allows
  float32 alone in `enabled_precisions`.
* 2.13 dropped both: every network is explicitly typed, as it always is in TensorRT for RTX.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

OLDEST = (2, 5)


def settings(version: str, precision: str) -> dict[str, Any]:
    """Return the settings of a version, as plain data.

    Args:
        version: Of Torch-TensorRT, such as `2.5.0` or `2.13.0+cu130`.
        precision: `fp32`, `fp16` or `bf16`.

    Returns:
        Keyword arguments of `convert_exported_program_to_serialized_trt_engine`; types by name.

    Raises:
        ValueError: The version is too old, or not a version.
    """
    number = _parsed(version)
    if number < OLDEST:
        raise ValueError(f'Torch-TensorRT {version} is too old; use 2.5 or newer')
    chosen: dict[str, Any] = {
        # All in one engine or not at all: what falls back to torch would need its source graph.
        'require_full_compilation': True,
        'min_block_size': 1,
        'assume_dynamic_shape_support': True,
        # TF32 has the mantissa of float16; what is called fp32 shall be it.
        'disable_tf32': True,
    }
    half = {'fp32': [], 'fp16': ['float16'], 'bf16': ['bfloat16']}[precision]
    if number < (2, 6):
        chosen['enabled_precisions'] = ['float32', *half]
        return chosen
    if number < (2, 13):
        chosen['enabled_precisions'] = ['float32']
        chosen['use_explicit_typing'] = True
    # Products of float16 are summed in float32.
    chosen['use_fp32_acc'] = precision == 'fp16'
    return chosen


def as_arguments(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the types that they name."""
    arguments = dict(plain)
    if 'enabled_precisions' in arguments:
        arguments['enabled_precisions'] = {
            getattr(torch, name) for name in plain['enabled_precisions']
        }
    return arguments


def _parsed(version: str) -> tuple[int, int]:
    found = re.match(r'(\d+)\.(\d+)', version)
    if not found:
        raise ValueError(f'{version!r} is not a version of Torch-TensorRT')
    return int(found[1]), int(found[2])
