from __future__ import annotations

import pytest
from core.doctor.conftest import failed
from core.doctor.conftest import GPU
from core.doctor.conftest import TORCH
from core.doctor.conftest import with_gpu

from theia_ros.doctor import gpu
from theia_ros.doctor.finding import Level


def test_torch_is_told_with_its_cuda(facts) -> None:
    (finding,) = gpu.torch(facts())
    assert (finding.level, finding.found) == (Level.OK, '2.13.0+cpu, for the CPU')
    (finding,) = gpu.torch(facts({'torch': with_gpu()}))
    assert finding.found == '2.13.0, for CUDA 13.0'


def test_without_torch_the_node_does_not_run(facts) -> None:
    made = facts({'torch': failed("ModuleNotFoundError: No module named 'torch'")})
    (finding,) = gpu.torch(made)
    assert (finding.level, finding.found) == (Level.ERROR, 'not installed')
    assert list(gpu.devices(made)) == list(gpu.tensorrt(made)) == []
    made = facts({'torch': failed('OSError: libcudart.so.13: cannot open shared object file')})
    (finding,) = gpu.torch(made)
    assert finding.found == 'cannot be imported'
    assert 'libcudart.so.13' in finding.wrong


def devices(facts, answer):
    return list(gpu.devices(facts({'torch': answer})))


def test_no_gpu_is_no_fault(facts) -> None:
    (finding,) = devices(facts, TORCH)
    assert (finding.level, finding.found) == (Level.OK, 'none; a CPU computes')


def test_a_gpu_that_computes(facts) -> None:
    (finding,) = devices(facts, with_gpu())
    assert finding.level is Level.OK
    assert finding.found == (
        'NVIDIA GeForce RTX 4090, compute capability 8.9, 20.0 of 25.4 GB free, driver 580.65.06'
    )


def test_a_gpu_and_a_torch_for_the_cpu(facts) -> None:
    (finding,) = devices(facts, {**TORCH, 'driver': '580.65.06'})
    assert finding.level is Level.WARNING
    assert finding.wrong == 'this torch was built without CUDA and computes on the CPU'
    assert finding.cures[0] == 'python3 -m pip install --force-reinstall torch'


def test_a_driver_that_torch_finds_too_old(facts) -> None:
    said = 'CUDA initialization: The NVIDIA driver on your system is too old'
    (finding,) = devices(facts, with_gpu(devices=[], warnings=[said], driver='535.183.01'))
    assert (finding.level, finding.wrong) == (Level.WARNING, said)
    assert finding.cures[0] == 'sudo apt install nvidia-driver-580'


def test_a_driver_older_than_its_cuda(facts) -> None:
    driver, device = devices(facts, with_gpu(driver='535.183.01'))
    assert driver.wrong == 'CUDA 13.0 needs 580 or newer'
    assert device.level is Level.OK
    (jetson,) = devices(facts, with_gpu(driver='R36.4.3', cuda='12.6', oldest_driver=525))
    assert jetson.level is Level.OK


def test_a_gpu_that_torch_has_no_kernels_for(facts) -> None:
    broken = {**GPU, 'capability': [12, 0], 'failure': 'no kernel image is available'}
    (finding,) = devices(facts, with_gpu(devices=[broken]))
    assert finding.level is Level.WARNING
    assert finding.wrong == (
        'torch 2.13.0 cannot compute there: no kernel image is available (it was built for '
        'sm_80, sm_89, sm_90)'
    )


@pytest.mark.parametrize(
    ('changes', 'tensorrt', 'level', 'text'),
    [
        ({}, {'tensorrt': '11.0.0.1'}, Level.OK, 'TensorRT 11.0.0.1'),
        ({'tensorrt': {}}, None, Level.WARNING, 'torch runs the model instead'),
        ({'misfit': 'it is for torch 2.8'}, None, Level.WARNING, 'it is for torch 2.8'),
        ({}, failed('OSError: libnvinfer.so.11'), Level.WARNING, 'cannot be imported: OSError'),
        ({'devices': []}, None, Level.OK, 'of no use without a GPU'),
        ({'devices': [], 'tensorrt': {}}, None, Level.OK, 'of no use without a GPU'),
    ],
)
def test_tensorrt(changes, tensorrt, level: Level, text: str, facts) -> None:
    (finding,) = gpu.tensorrt(facts({'torch': with_gpu(**changes), 'tensorrt': tensorrt}))
    assert finding.level is level
    assert text in f'{finding.found} {finding.wrong}'
