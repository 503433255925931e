"""Values of arguments that several commands take."""

from __future__ import annotations

from theia_ros.catalog import BACKBONE
from theia_ros.errors import ParameterError


def parts_of(text: str) -> tuple[str, ...]:
    """Return the parts of a comma-separated list, without empty ones."""
    return tuple(part for part in text.split(',') if part)


def tensors_of(text: str) -> tuple[str, ...]:
    """Return the names that `--tensors` has.

    Raises:
        ParameterError: It has none, or one twice.
    """
    names = parts_of(text)
    if not names:
        raise ParameterError(f'--tensors names none; use {BACKBONE} or a teacher')
    if len(set(names)) < len(names):
        raise ParameterError(f'--tensors names one twice: {text}')
    return names
