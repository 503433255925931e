from __future__ import annotations

from pathlib import Path

import pytest

from theia_ros.engine import machine

X86 = """\
processor\t: 0
vendor_id\t: GenuineIntel
model\t\t: 143
model name\t: Intel(R) Xeon(R) Platinum 8481C
flags\t\t: fpu sse sse4_1 sse4_2 fma avx f16c avx2 avx512f amx_tile pti
processor\t: 1
model name\t: another
"""
ORIN = """\
processor\t: 0
model name\t: ARMv8 Processor rev 1 (v8l)
Features\t: fp asimd evtstrm aes asimdhp asimddp sve
"""
RASPBERRY = """\
processor\t: 0
Features\t: fp asimd
Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""
PROPRIETARY = """\
NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024
GCC version:  gcc version 12.3.0
"""
OPEN = """\
NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs@host)
GCC version:  gcc version 13.2.0
"""
JETPACK_6 = """\
# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64
# KERNEL_VARIANT: oot
"""


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Return a function that writes one of the files that the kernel or the BSP writes."""
    paths = {name: tmp_path / name for name in ('cpuinfo', 'version', 'nv_tegra_release')}
    monkeypatch.setattr(machine, 'CPUINFO', paths['cpuinfo'])
    monkeypatch.setattr(machine, 'DRIVER_FILES', (paths['version'], paths['nv_tegra_release']))
    return lambda name, text: paths[name].write_text(text)


@pytest.mark.parametrize(
    ('text', 'name', 'features'),
    [
        pytest.param(
            X86,
            'Intel(R) Xeon(R) Platinum 8481C',
            'amx_tile avx avx2 avx512f f16c fma sse4_1 sse4_2',
            id='x86',
        ),
        pytest.param(ORIN, 'ARMv8 Processor rev 1 (v8l)', 'asimd asimddp asimdhp sve', id='orin'),
        pytest.param(RASPBERRY, 'Raspberry Pi 5 Model B Rev 1.0', 'asimd', id='raspberry'),
    ],
)
def test_a_processor_is_known_by_name_and_instruction_sets(written, text, name, features) -> None:
    written('cpuinfo', text)
    assert (machine.cpu_name(), machine.cpu_features()) == (name, features)


@pytest.mark.parametrize(
    ('name', 'text', 'driver'),
    [
        pytest.param('version', PROPRIETARY, '550.54.15', id='proprietary'),
        pytest.param('version', OPEN, '580.65.06', id='open'),
        pytest.param('nv_tegra_release', JETPACK_6, 'R36.4.3', id='jetpack'),
        pytest.param('version', 'something else', '', id='unknown'),
    ],
)
def test_a_driver_is_known_by_its_version(written, name, text, driver) -> None:
    written(name, text)
    assert machine.gpu_driver() == driver


def test_what_nobody_tells_is_empty(written) -> None:
    assert machine.gpu_driver() == machine.cpu_features() == ''
    assert machine.cpu_name()


def test_versions_are_those_of_what_is_installed() -> None:
    found = machine.versions('numpy', 'no-such-package')
    assert list(found) == ['numpy']
    assert found['numpy'][0].isdigit()
