"""The real builder of TensorRT for RTX, which needs no GPU; running an engine needs one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version
from pathlib import Path

import pytest
from helpers import no_gpu

ROOT = Path(__file__).parents[3]

# All that is converted of the model; docs/engines.md tells what it is for.
OPERATIONS = {
    'aten._reshape_copy.default',
    'aten._softmax.default',
    'aten._to_copy.default',
    'aten.add.Tensor',
    'aten.cat.default',
    'aten.clone.default',
    'aten.constant_pad_nd.default',
    'aten.convolution.default',
    'aten.expand.default',
    'aten.gelu.default',
    'aten.linear.default',
    'aten.matmul.default',
    'aten.mul.Tensor',
    'aten.native_layer_norm.default',
    'aten.permute.default',
    'aten.relu.default',
    'aten.slice.Tensor',
    'aten.squeeze.dim',
    'aten.sub.Tensor',
    'aten.sym_size.int',
    '<built-in function getitem>',
}


def missing() -> str:
    try:
        version('torch-tensorrt-rtx')
        version('tensorrt-rtx-cu13')
    except PackageNotFoundError as exc:
        return f'{exc.name} is not installed, see docs/engines.md'
    return ''


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=missing() or 'it is there'),
]


def build(folder: Path, tensor: str, precision: str, max_batch: int = 4) -> dict:
    path = os.pathsep.join((str(ROOT), str(ROOT / 'test')))
    done = subprocess.run(
        [sys.executable, no_gpu.__file__, str(folder), tensor, precision, str(max_batch)],
        env={**os.environ, 'PYTHONPATH': path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize('precision', ['fp32', 'fp16', 'bf16'])
@pytest.mark.parametrize('tensor', ['theia', 'clip', 'depth_anything'])
def test_a_part_becomes_one_engine(tensor: str, precision: str, tiny_folder: Path) -> None:
    built = build(tiny_folder, tensor, precision)
    assert built['type'] == 'bytes'
    assert built['bytes'] > 1_000_000
    assert built['facts']['runtime'].startswith('tensorrt-rtx ')
    assert built['facts']['device'] == f'{no_gpu.GPU} sm_89'
    assert set(built['converted']) <= OPERATIONS


def test_half_precision_makes_smaller_engines(tiny_folder: Path) -> None:
    whole, half = (build(tiny_folder, 'theia', p, 1)['bytes'] for p in ('fp32', 'fp16'))
    assert half < 0.8 * whole


def test_one_batch_size_is_built_too(tiny_folder: Path) -> None:
    assert build(tiny_folder, 'clip', 'fp16', 1)['bytes'] > 1_000_000
