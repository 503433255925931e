"""The GPU, and whether driver, torch, CUDA and TensorRT fit together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from theia_ros.doctor.facts import Facts
from theia_ros.doctor.finding import error
from theia_ros.doctor.finding import Finding
from theia_ros.doctor.finding import ok
from theia_ros.doctor.finding import warning

_TORCH = 'python3 -m pip install --force-reinstall torch'
_JETSON = 'on a Jetson: see "Jetson" in docs/install.md'
_EXTRA = {
    'torch-tensorrt': "python3 -m pip install 'theia_ros[tensorrt]'",
    'torch-tensorrt-rtx': "python3 -m pip install 'theia_ros[tensorrt-rtx]'",
}


def torch(facts: Facts) -> Iterator[Finding]:
    """Import torch."""
    if failure := facts.torch.failure:
        missing = "No module named 'torch'" in failure
        found = 'not installed' if missing else 'cannot be imported'
        yield error('torch', found, failure, 'python3 -m pip install torch', _JETSON)
        return
    answer = facts.torch.answer
    cuda = f'for CUDA {answer["cuda"]}' if answer['cuda'] else 'for the CPU'
    yield ok('torch', f'{answer["version"]}, {cuda}')


def devices(facts: Facts) -> Iterator[Finding]:
    """Look for GPUs, and let torch compute on each."""
    if facts.torch.failure:
        return  # said already
    answer = facts.torch.answer
    driver = answer['driver']
    if not answer['devices']:
        yield _no_device(answer)
        return
    oldest = answer['oldest_driver']
    if re.match(r'\d{3}\.', driver) and int(driver[:3]) < oldest:
        yield warning(
            'driver',
            driver,
            f'CUDA {answer["cuda"]} needs {oldest} or newer',
            f'sudo apt install nvidia-driver-{oldest}',
        )
    for i, device in enumerate(answer['devices']):
        yield _device(i, device, answer)


def _no_device(answer: Mapping[str, Any]) -> Finding:
    driver, cuda = answer['driver'], answer['cuda']
    if driver and not cuda:
        return warning(
            'GPU',
            f'driver {driver}',
            'this torch was built without CUDA and computes on the CPU',
            _TORCH,
            _JETSON,
        )
    if driver:
        said = '; '.join(answer['warnings']) or 'torch finds no GPU'
        return warning(
            'GPU',
            f'driver {driver}, torch for CUDA {cuda}',
            said,
            f'sudo apt install nvidia-driver-{answer["oldest_driver"]}',
            'in a container: docker run --gpus all, on a Jetson --runtime nvidia',
        )
    return ok('GPU', f'none; {answer["cpu"]} computes')


def _device(i: int, device: Mapping[str, Any], answer: Mapping[str, Any]) -> Finding:
    name = f'cuda:{i}'
    found, compiled = device['name'], answer['compiled_for']
    if 'capability' in device:
        major, minor = device['capability']
        found += f', compute capability {major}.{minor}'
    if 'total_gb' in device:
        found += f', {device["free_gb"]:.1f} of {device["total_gb"]:.1f} GB free'
    if answer['driver']:
        found += f', driver {answer["driver"]}'
    if not device['failure']:
        return ok(name, found)
    wrong = f'torch {answer["version"]} cannot compute there: {device["failure"]}'
    if compiled and 'capability' in device and f'sm_{major}{minor}' not in compiled:
        wrong += f' (it was built for {", ".join(compiled)})'
    return warning(name, found, wrong, _TORCH, _JETSON)


def tensorrt(facts: Facts) -> Iterator[Finding]:
    """Look whether Torch-TensorRT is there, fits, and can be imported."""
    if facts.torch.failure:
        return  # said already
    answer = facts.torch.answer
    installed: Mapping[str, str] = answer['tensorrt']
    name = next((name for name in _EXTRA if name in installed), None)
    if not name:
        if answer['devices']:
            yield warning(
                'TensorRT',
                'Torch-TensorRT is not installed',
                'torch runs the model instead, which is slower',
                _EXTRA['torch-tensorrt'],
                f'on a GeForce or RTX: {_EXTRA["torch-tensorrt-rtx"]}',
                _JETSON,
            )
        else:
            yield ok('TensorRT', 'not installed, and of no use without a GPU')
        return
    found = ', '.join(f'{package} {version}' for package, version in installed.items())
    cure = 'see the table of versions in docs/install.md'
    if answer['misfit']:
        yield warning('TensorRT', found, answer['misfit'], _EXTRA[name], cure)
    elif not answer['devices']:
        yield ok('TensorRT', f'{found}; of no use without a GPU')
    elif facts.tensorrt.failure:
        wrong = f'it cannot be imported: {facts.tensorrt.failure}'
        yield warning('TensorRT', found, wrong, _EXTRA[name], cure)
    else:
        yield ok('TensorRT', f'{found}; TensorRT {facts.tensorrt.answer["tensorrt"]}')
