"""Files of weights: exactly the tensors that are expected, or one line that says what is wrong.

Only safetensors are read: they hold tensors and no code.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors import safe_open
from safetensors import SafetensorError
from torch import Tensor

from theia_ros.errors import WeightsError


def read_tensors(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    owner: str,
    published_key: Callable[[str], str] = str,
    spares: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Tensor]:
    """Read a file that holds these tensors and no others.

    Args:
        path: Of a safetensors file.
        shapes: Of every expected tensor, by published key.
        owner: What asks for them, for messages: `path` does not fit `owner`.
        published_key: Turns a key of the file into the published one. A tensor may be there
            under several keys when its values are the same.
        spares: Keys of second copies, and the key that each stands in for where that is absent.
            Beside it a copy has no say, since the published code keeps one tensor for both.

    Returns:
        float32, on the CPU, by published key.

    Raises:
        WeightsError: The file is missing or damaged, or its tensors are not the expected ones.
    """
    stored = _read(path, published_key)
    for spare, key in spares.items():
        if spare in stored:
            stored.setdefault(key, stored.pop(spare))
    missing, unexpected = sorted(set(shapes) - set(stored)), sorted(set(stored) - set(shapes))
    if missing or unexpected:
        parts = [
            f'{len(names)} {word} (first: {names[0]})'
            for word, names in (('missing', missing), ('unexpected', unexpected))
            if names
        ]
        raise WeightsError(
            f'{path} does not fit {owner}: {len(shapes)} tensors expected, {", ".join(parts)}'
        )
    for key, expected in shapes.items():
        _check(path, key, stored[key], expected)
    return {key: tensor.float() for key, tensor in stored.items()}


def _read(path: Path, published_key: Callable[[str], str]) -> dict[str, Tensor]:
    """Read all tensors of a file, under their published keys."""
    stored: dict[str, Tensor] = {}
    try:
        with safe_open(path, framework='pt') as file:
            for key in file.keys():  # noqa: SIM118 (a file handle, not a dict)
                published, tensor = published_key(key), file.get_tensor(key)
                if published in stored and not _same(stored[published], tensor):
                    raise WeightsError(f'{path}: {published} is there twice, and the two differ')
                stored[published] = tensor
    except FileNotFoundError as exc:
        raise WeightsError(f'{path} does not exist; every model folder has one') from exc
    except (SafetensorError, OSError) as exc:
        raise WeightsError(f'{path} is no whole safetensors file: {exc}') from exc
    return stored


def _same(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def _check(path: Path, key: str, tensor: Tensor, expected: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != expected:
        raise WeightsError(f'{path}: {key} has shape {tuple(tensor.shape)}; expected {expected}')
    if not tensor.is_floating_point():
        raise WeightsError(f'{path}: {key} holds {tensor.dtype}; expected floating point')
    if not tensor.isfinite().all():
        raise WeightsError(f'{path}: {key} holds NaN or infinity')
