"""How Torch-TensorRT is asked to compile, for each of its versions: the one place that knows.

What changed, of what is used here:

* 2.5 (JetPack 6) has no explicit typing: TensorRT may choose any enabled precision for a layer,
  and the casts of the model only suggest one.
* 2.5 to 2.7 convert no cast to bfloat16.
* 2.6 to 2.12 take `use_explicit_typing`, which makes the casts of the model binding and allows
  float32 alone in `enabled_precisions`.
* 2.13 dropped both: every network is explicitly typed, as it always is in TensorRT for RTX.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

OLDEST = (2, 5)
OLDEST_BF16 = (2, 8)


@dataclass(frozen=True)
class Release:
    """What a version of Torch-TensorRT was made for; torch has the same number.

    Attributes:
        tensorrt: Version of TensorRT.
        cuda: Major version of CUDA of its packages on the index; there are others elsewhere.
        for_rtx: Version of TensorRT for RTX; empty where there is no package for it.
        python: Oldest that its packages support.
    """

    tensorrt: str
    cuda: str
    for_rtx: str
    python: str


RELEASES: Mapping[str, Release] = {
    '2.5': Release('10.3', '12', '', '3.8'),
    '2.6': Release('10.7', '12', '', '3.9'),
    '2.7': Release('10.9', '12', '', '3.9'),
    '2.8': Release('10.12', '12', '', '3.9'),
    '2.9': Release('10.13', '13', '1.0', '3.9'),
    '2.10': Release('10.14', '13', '1.2', '3.10'),
    '2.11': Release('10.15', '13', '1.3', '3.10'),
    '2.12': Release('10.16', '13', '1.4', '3.10'),
    '2.13': Release('11.0', '13', '1.5', '3.10'),
    '2.14': Release('11.1', '13', '1.6', '3.10'),
}
"""From the versions that its own releases ask for."""

OLDEST_DRIVER: Mapping[str, int] = {'12': 525, '13': 580}
"""Of Linux on a desktop, by major version of CUDA."""

ORIN_TENSORRT = '10.3'
"""Of JetPack 6, whatever the version of Torch-TensorRT: 2.5 to 2.8 were built for it, too."""

PLAIN, FOR_RTX = 'torch-tensorrt', 'torch-tensorrt-rtx'
_RUNTIMES: Mapping[str, tuple[str, ...]] = {
    PLAIN: ('tensorrt', 'tensorrt-cu12', 'tensorrt-cu13'),
    FOR_RTX: ('tensorrt-rtx', 'tensorrt-rtx-cu12', 'tensorrt-rtx-cu13'),
}
DISTRIBUTIONS = (PLAIN, FOR_RTX, *_RUNTIMES[PLAIN], *_RUNTIMES[FOR_RTX])
"""Packages that have to fit together."""


def misfit(installed: Mapping[str, str], torch_version: str, torch_cuda: str) -> str:
    """Say which of the installed packages do not fit together; empty if they do.

    Args:
        installed: Versions of those of `DISTRIBUTIONS` that are installed.
        torch_version: Of torch, such as `2.13.0+cpu`.
        torch_cuda: That torch was built with, such as `13.0`; empty for the CPU.
    """
    if PLAIN in installed and FOR_RTX in installed:
        return f'{PLAIN} and {FOR_RTX} are both installed, and each hides the other'
    name = next((name for name in (PLAIN, FOR_RTX) if name in installed), None)
    if not name:
        return ''
    try:
        wanted = _text(_parsed(installed[name]))
        found = _text(_parsed(torch_version))
    except ValueError as exc:
        return str(exc)
    if found != wanted:
        return f'{name} {installed[name]} is for torch {wanted}, found {torch_version}'
    runtimes = [runtime for runtime in _RUNTIMES[name] if runtime in installed]
    for runtime in runtimes:
        cuda = runtime.rpartition('-cu')[2]
        if cuda.isdigit() and torch_cuda and cuda != torch_cuda[:2]:
            return f'{runtime} is for CUDA {cuda}, torch {torch_version} for CUDA {torch_cuda}'
    release = RELEASES.get(wanted)
    if not release or not runtimes:
        return ''
    runtime = runtimes[0]
    fitting = [release.for_rtx] if name == FOR_RTX else [release.tensorrt]
    if name == PLAIN and _parsed(wanted) <= (2, 8):
        fitting.append(ORIN_TENSORRT)
    if _text(_parsed(installed[runtime])) in fitting:
        return ''
    return f'{name} {installed[name]} is for {runtime} {fitting[0]}, found {installed[runtime]}'


def settings(version: str, precision: str) -> dict[str, Any]:
    """Return the settings of a version, as plain data.

    Args:
        version: Of Torch-TensorRT, such as `2.5.0` or `2.13.0+cu130`.
        precision: `fp32`, `fp16` or `bf16`.

    Returns:
        Keyword arguments of `convert_exported_program_to_serialized_trt_engine`; types by name.

    Raises:
        ValueError: The version is too old, also for this precision, or not a version.
    """
    number = _parsed(version)
    if number < OLDEST:
        raise ValueError(f'Torch-TensorRT {version} is too old; use {_text(OLDEST)} or newer')
    if precision == 'bf16' and number < OLDEST_BF16:
        raise ValueError(
            f'Torch-TensorRT {version} converts no casts to bfloat16; use precision fp16, or '
            f'version {_text(OLDEST_BF16)} or newer'
        )
    chosen: dict[str, Any] = {
        # All in one engine or not at all: what falls back to torch would need its source graph.
        'require_full_compilation': True,
        'min_block_size': 1,
        'assume_dynamic_shape_support': True,
        # TF32 has the mantissa of float16; what is called fp32 shall be it.
        'disable_tf32': True,
    }
    if number < (2, 6):
        half = ['float16'] if precision == 'fp16' else []
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


def _text(number: tuple[int, int]) -> str:
    return f'{number[0]}.{number[1]}'


def _parsed(version: str) -> tuple[int, int]:
    found = re.match(r'(\d+)\.(\d+)', version)
    if not found:
        raise ValueError(f'{version!r} is not a version of Torch-TensorRT')
    return int(found[1]), int(found[2])
