"""What the figures were measured on, and with."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import theia_ros
from theia_ros.catalog import MODELS
from theia_ros.catalog import user_path

_LIBRARIES = (
    'torch',
    'numpy',
    'pillow',
    'openvino',
    'torch-tensorrt',
    'tensorrt',
    'torch-tensorrt-rtx',
)


def describe() -> dict[str, Any]:
    """Return date, hardware, versions and revision."""
    return {
        'date': datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds'),
        'hardware': _hardware(),
        'versions': _versions(),
        'git': _revision(),
        'omp_wait_policy': os.environ.get('OMP_WAIT_POLICY', ''),
    }


def load() -> list[float]:
    """Return how many processes wanted to run, means of the last 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]


def model_name(model: str) -> str:
    """Return the name of a model for a file that others read: a folder without its path."""
    return model if model in MODELS else user_path(model).resolve().name


def _hardware() -> dict[str, Any]:
    import torch

    cpu = re.search(r'^model name\s*:\s*(.+)$', Path('/proc/cpuinfo').read_text(), re.M)
    memory = re.search(r'^MemTotal:\s*(\d+) kB', Path('/proc/meminfo').read_text(), re.M)
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        'cpu': cpu[1] if cpu else platform.machine(),
        'cores': len(os.sched_getaffinity(0)),
        'memory_gb': round(int(memory[1]) * 1024 / 1e9, 1) if memory else None,
        'gpu': gpus[0] if gpus else None,
        'torch_threads': torch.get_num_threads(),
    }


def _versions() -> dict[str, str]:
    import torch

    found = {
        'theia_ros': theia_ros.__version__,
        'python': platform.python_version(),
        'linux': platform.release(),
    }
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if torch.version.cuda:
        found['cuda'] = torch.version.cuda
    return found


def _revision() -> str | None:
    """Return the revision of the sources; None when they are installed without a repository."""
    root = Path(theia_ros.__file__).parents[1]
    if not (root / '.git').exists():
        return None
    command = ['git', 'describe', '--always', '--dirty', '--abbrev=12', '--exclude=*']
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
