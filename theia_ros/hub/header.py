"""The header of a safetensors file, read with mistrust, and cut down to some tensors.

The file is 8 bytes that hold the header's length, little endian; the header, JSON; the data.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from theia_ros.errors import WeightsError

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 10_000_000
"""The largest header in use here has some 100 kB."""

_ITEM_BYTES: Mapping[str, int] = {
    'BOOL': 1,
    'U8': 1,
    'I8': 1,
    'F8_E4M3': 1,
    'F8_E5M2': 1,
    'U16': 2,
    'I16': 2,
    'F16': 2,
    'BF16': 2,
    'U32': 4,
    'I32': 4,
    'F32': 4,
    'U64': 8,
    'I64': 8,
    'F64': 8,
}


class HeaderError(WeightsError):
    """A file is no safetensors file, a damaged one, or one without the wanted tensors."""


@dataclass(frozen=True)
class Entry:
    """A tensor in a file.

    Attributes:
        dtype: As the file calls it.
        shape: Lengths of its axes.
        begin: First byte in the file.
        end: One past the last byte.
    """

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def header_bytes(first: bytes, file_bytes: int) -> int:
    """Return the header's length, from the first 8 bytes of a file.

    Raises:
        HeaderError: A file of this size cannot have such a header.
    """
    length = int.from_bytes(first, 'little')
    most = min(MAX_HEADER_BYTES, file_bytes - LENGTH_BYTES)
    if len(first) != LENGTH_BYTES or not 2 <= length <= most:
        raise HeaderError(
            f'no safetensors file: it claims a header of {length} bytes; '
            f'expected 2 to {max(most, 2)} in a file of {file_bytes} bytes'
        )
    return length


def parse(text: bytes, file_bytes: int) -> dict[str, Entry]:
    """Return the tensors that a header describes, by name, in the order of their bytes.

    Raises:
        HeaderError: They do not fill a file of this size, each byte belonging to one of them.
    """
    try:
        described = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise HeaderError('no safetensors file: its header is not JSON') from exc
    if not isinstance(described, dict):
        raise HeaderError('no safetensors file: its header is no JSON object')
    start = LENGTH_BYTES + len(text)
    entries = {
        name: _entry(name, value, start)
        for name, value in described.items()
        if name != '__metadata__'
    }
    entries = dict(sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)))
    position = start
    for name, entry in entries.items():
        if entry.end > file_bytes:
            raise HeaderError(
                f'damaged safetensors file: {name} ends at byte {entry.end} of {file_bytes}'
            )
        if entry.begin != position:
            raise HeaderError(
                f'damaged safetensors file: {name} starts at byte {entry.begin}; '
                f'expected {position}'
            )
        position = entry.end
    if position != file_bytes:
        raise HeaderError(
            f'damaged safetensors file: its tensors end at byte {position} of {file_bytes}'
        )
    return entries


def read(path: Path) -> dict[str, Entry]:
    """Return the tensors in a file.

    Raises:
        HeaderError: It is no whole safetensors file.
    """
    size = path.stat().st_size
    with path.open('rb') as file:
        return parse(file.read(header_bytes(file.read(LENGTH_BYTES), size)), size)


def numbers(entries: Mapping[str, Entry]) -> int:
    """Return how many numbers some tensors hold."""
    return sum(math.prod(entry.shape) for entry in entries.values())


def select(entries: Mapping[str, Entry], wanted: tuple[str, ...]) -> dict[str, Entry]:
    """Return the wanted tensors, in the order of their bytes.

    Args:
        entries: What `parse` returned.
        wanted: Names, or beginnings of names that end with a dot.

    Raises:
        HeaderError: There is nothing of one kind.
    """

    def fits(name: str, one: str) -> bool:
        return name == one or (one.endswith('.') and name.startswith(one))

    for one in wanted:
        if not any(fits(name, one) for name in entries):
            raise HeaderError(f'there is no tensor {one} among the {len(entries)} of the file')
    return {
        name: entry for name, entry in entries.items() if any(fits(name, one) for one in wanted)
    }


def cut(entries: Mapping[str, Entry]) -> tuple[bytes, tuple[tuple[int, int], ...]]:
    """Return how to make a file of some tensors of another, under the same names.

    Returns:
        The first bytes of the small file, and the ranges (begin, end) of the large one that
        follow them, in order; neighbours are one range.
    """
    described: dict[str, object] = {'__metadata__': {'format': 'pt'}}
    ranges: list[tuple[int, int]] = []
    position = 0
    for name, entry in entries.items():
        size = entry.end - entry.begin
        offsets = [position, position + size]
        described[name] = {'dtype': entry.dtype, 'shape': entry.shape, 'data_offsets': offsets}
        position += size
        if ranges and ranges[-1][1] == entry.begin:
            ranges[-1] = (ranges[-1][0], entry.end)
        else:
            ranges.append((entry.begin, entry.end))
    text = json.dumps(described, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)  # readers map the data, which should be aligned
    return len(text).to_bytes(LENGTH_BYTES, 'little') + text, tuple(ranges)


def _entry(name: str, value: object, start: int) -> Entry:
    try:
        dtype, shape, (begin, end) = (
            value[key]  # type: ignore[index]
            for key in ('dtype', 'shape', 'data_offsets')
        )
        lengths = (*shape, begin, end)
    except (KeyError, TypeError, ValueError) as exc:
        raise HeaderError(
            f'damaged safetensors file: {name} needs dtype, shape and data_offsets'
        ) from exc
    if not isinstance(dtype, str) or dtype not in _ITEM_BYTES:
        raise HeaderError(f'damaged safetensors file: {name} has the unknown dtype {dtype!r}')
    if not all(type(length) is int and length >= 0 for length in lengths):
        raise HeaderError(f'damaged safetensors file: {name} has shape {shape}, {begin}:{end}')
    if end - begin != math.prod(shape) * _ITEM_BYTES[dtype]:
        raise HeaderError(
            f'damaged safetensors file: {name} has {end - begin} bytes; '
            f'expected {math.prod(shape) * _ITEM_BYTES[dtype]} for {dtype} {list(shape)}'
        )
    return Entry(dtype, tuple(shape), start + begin, start + end)
