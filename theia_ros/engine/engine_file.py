"""The files that hold built engines: what made them, a checksum, and the bytes."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import BinaryIO

_MAGIC = b'theia_ros engine, format 1\n'
_MOST_HEADER_BYTES = 1 << 20


@dataclass(frozen=True)
class EngineKey:
    """Everything that makes a built part unusable when it changes.

    Attributes:
        model: Name of the model, for people.
        config: Shape of the model, as JSON.
        weights_sha256: Of the file with the weights.
        code: Version of the model's arithmetic in this package.
        part: The tensor that the part gives.
        image_hw: Rows and columns of the model's input.
        max_batch: The engine takes batches of 1 to this.
        backend: What compiles and runs it, flavour included.
        precision: Its arithmetic.
        settings: Of the compiler, as JSON.
        device: GPU and compute capability, or CPU.
        features: Instruction sets of the CPU.
        driver: Of the GPU.
        cuda: Version that torch was built with.
        torch: Version; it exports the model.
        compiler: Version of what builds the engine.
        runtime: Version of what runs it.
    """

    model: str
    config: str
    weights_sha256: str
    code: str
    part: str
    image_hw: tuple[int, int]
    max_batch: int
    backend: str
    precision: str
    settings: str
    device: str
    features: str
    driver: str
    cuda: str
    torch: str
    compiler: str
    runtime: str

    @property
    def digest(self) -> str:
        """Sha256 over all of it, hexadecimal."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def kind(self) -> str:
        """What engines of one purpose share, as the readable front of their file names."""
        # In bytes, of which a file's name may have 255.
        end = self.model.encode()[-80:].decode(errors='ignore')
        model = re.sub(r'[^\w.-]+', '_', end)
        return f'{model}-{self.part}-{self.backend}-{self.precision}-b{self.max_batch}'

    @property
    def file_name(self) -> str:
        """Readable for people, and a digest for certainty."""
        return f'{self.kind}-{self.digest[:16]}.engine'


KIND = 'model', 'part', 'backend', 'precision', 'max_batch'
"""Fields by which engines stand beside one another; a change of another replaces an engine."""


class Unusable(Exception):
    """A stored engine is not there, or not to be trusted; its text says why."""


def write(file: BinaryIO, key: EngineKey, payload: bytes) -> None:
    """Write an engine into an empty file and wait until it is on the disk.

    Raises:
        OSError: It cannot be written.
    """
    checksum = hashlib.sha256(payload).hexdigest()
    header = json.dumps({'key': asdict(key), 'bytes': len(payload), 'sha256': checksum}).encode()
    file.write(_MAGIC + len(header).to_bytes(8, 'little') + header)
    file.write(payload)
    file.flush()
    os.fsync(file.fileno())


def read(path: Path, key: EngineKey) -> bytes:
    """Read the engine of a file that was written for `key`, whole and unchanged.

    Raises:
        OSError: It cannot be read.
        Unusable: It is not that, and why.
    """
    header, start = read_header(path)
    if changed := differences(header['key'], key):
        raise Unusable(f'{path.name} holds another engine, which differs in {changed}')
    with path.open('rb') as file:
        file.seek(start)
        payload = file.read()
    if len(payload) != header.get('bytes'):
        raise Unusable(f'{path.name} is cut off or too long')
    if hashlib.sha256(payload).hexdigest() != header.get('sha256'):
        raise Unusable(f'{path.name} is damaged')
    return payload


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the header of an engine file and where its payload begins, in bytes.

    Raises:
        OSError: It cannot be read.
        Unusable: It is no engine file, or a damaged one.
    """
    with path.open('rb') as file:
        magic = file.read(len(_MAGIC))
        size = int.from_bytes(file.read(8), 'little')
        if magic != _MAGIC or size > _MOST_HEADER_BYTES:
            raise Unusable(f'{path.name} is no engine file of this format')
        try:
            header = json.loads(file.read(size))
        except (ValueError, RecursionError):
            raise Unusable(f'{path.name} is damaged') from None
        if not isinstance(header, dict) or not isinstance(header.get('key'), dict):
            raise Unusable(f'{path.name} is damaged')
        return header, file.tell()


def differences(stored: Mapping[str, Any], key: EngineKey) -> str:
    """Name the fields of a stored key that are not those of `key`; empty if all are."""
    wanted: dict[str, Any] = json.loads(json.dumps(asdict(key)))
    return ', '.join(
        f'{name} ({_around(old, new)}, now {_around(new, old)})'
        for name in {**wanted, **stored}
        if (old := stored.get(name, 'none')) != (new := wanted.get(name, 'none'))
    )


def _around(value: object, other: object) -> str:
    """Return a value for people; of a long one, what is around its first difference."""
    text = str(value) or 'none'
    if len(text) <= 40:
        return text
    pairs = enumerate(zip(text, str(other), strict=False))
    start = max(0, next((i for i, (a, b) in pairs if a != b), len(text) - 24) - 12)
    end = start + 36
    return f'{"..." * (start > 0)}{text[start:end]}{"..." * (end < len(text))}'
