"""Files that are there as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from theia_ros.errors import ParameterError


def write(path: Path, content: bytes) -> None:
    """Write a file beside its place and rename it, so that a kill leaves no half file.

    Raises:
        ParameterError: It cannot be written, as when the disk is full.
    """
    part = path.with_name(f'{path.name}.{os.getpid()}.part')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _tidy(path)
        with part.open('wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as exc:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise ParameterError(
            f'{path} cannot be written: {exc.strerror}; what is finished is kept, and the same '
            'command goes on from there'
        ) from exc


def _tidy(path: Path) -> None:
    """Remove what killed runs left of a file."""
    for part in path.parent.glob(f'{path.name}.*.part'):
        pid = part.name.split('.')[-2]
        if not Path('/proc', pid).is_dir():
            part.unlink(missing_ok=True)


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file; see `write`."""
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    write(path, save(whole, metadata=dict(notes or {})))


def is_whole(path: Path, shape: tuple[int, ...], name: str) -> bool:
    """Return whether a safetensors file is there with a tensor of this name and shape."""
    try:
        with safe_open(path, framework='pt') as file:
            return tuple(file.get_slice(name).get_shape()) == shape
    except (OSError, SafetensorError):
        return False
