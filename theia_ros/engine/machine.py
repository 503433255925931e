"""What machine this is, as far as built engines depend on it."""

from __future__ import annotations

import platform
import re
from contextlib import suppress
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version
from pathlib import Path

import torch

CPUINFO = Path('/proc/cpuinfo')
# Written by the kernel module of desktop and server GPUs, and by the BSP of Jetson.
DRIVER_FILES = (Path('/proc/driver/nvidia/version'), Path('/etc/nv_tegra_release'))

_NAME = re.compile(r'^(?:model name|Model|Hardware)\s*:\s*(.+)$', re.MULTILINE)
_FLAGS = re.compile(r'^(?:flags|Features)\s*:\s*(.+)$', re.MULTILINE)
_CODE_DEPENDS_ON = ('avx', 'amx', 'fma', 'f16c', 'sse4', 'asimd', 'sve', 'bf16', 'i8mm')
# The open kernel module says for which architecture it is, before its version.
_RELEASE = re.compile(r'Module\s+(?:for\s+\S+\s+)?([\d.]+)|(R\d+)[^,]*,\s*REVISION:\s*([\d.]+)')


def cpu_name() -> str:
    """Return the name of the processor."""
    named = _NAME.search(_read(CPUINFO))
    return named[1].strip() if named else platform.machine()


def cpu_features() -> str:
    """Return the instruction sets that compiled code may use, sorted."""
    flags = _FLAGS.search(_read(CPUINFO))
    names = flags[1].split() if flags else []
    return ' '.join(sorted(name for name in names if name.startswith(_CODE_DEPENDS_ON)))


def gpu_name(device: torch.device) -> str:
    """Return a GPU's name and compute capability."""
    major, minor = torch.cuda.get_device_capability(device)
    return f'{torch.cuda.get_device_name(device)} sm_{major}{minor}'


def gpu_driver() -> str:
    """Return the version of the GPU's driver; empty when it is not told."""
    for path in DRIVER_FILES:
        if found := _RELEASE.search(_read(path)):
            return '.'.join(part for part in found.groups() if part)
    return ''


def versions(*distributions: str) -> dict[str, str]:
    """Return the versions of those distributions that are installed."""
    found = {}
    for name in distributions:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(errors='replace')
    return ''
