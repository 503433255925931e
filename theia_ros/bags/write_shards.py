"""The result as shards: files of a camera's features, one after the other, without ROS."""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theia_ros.bags.journal import Journal
from theia_ros.bags.journal import written
from theia_ros.bags.messages import features_from_bytes
from theia_ros.conversions import stamp_ns
from theia_ros.conversions import tokens_from_message
from theia_ros.npz import write_npz

Arrays = dict[str, NDArray[Any]]


def _npz(path: Path, arrays: Arrays, meta: str) -> None:
    with path.open('wb') as file:
        write_npz(file, {'meta': np.array(meta), **arrays})


def _safetensors(path: Path, arrays: Arrays, meta: str) -> None:
    from safetensors.numpy import save_file

    save_file(arrays, path, {'meta': meta})


FORMATS: Mapping[str, Callable[[Path, Arrays, str], None]] = {
    'npz': _npz,
    'safetensors': _safetensors,
}
"""What writes a shard, by the ending of its name."""


class _Shard:
    """The next pictures of a camera, as long as their tensors have the same shapes."""

    def __init__(self) -> None:
        self._pictures: list[tuple[int, list[Any]]] = []
        self.bytes = 0
        self.shapes: list[tuple[int, ...]] = []

    def fits(self, messages: list[Any]) -> bool:
        return not self._pictures or self.shapes == _shapes(messages)

    def add(self, received_ns: int, messages: list[Any]) -> None:
        self._pictures.append((received_ns, messages))
        self.shapes = _shapes(messages)
        self.bytes += sum(msg.data.nbytes for msg in messages)

    def arrays(self) -> tuple[Arrays, dict[str, Any]]:
        """Return the arrays, one row for each picture, and what is the same for all rows."""
        firsts = [messages[0] for _, messages in self._pictures]
        frame_ids = sorted({msg.header.frame_id for msg in firsts})
        arrays: Arrays = {
            'stamp_ns': np.array([stamp_ns(msg) for msg in firsts], np.int64),
            'received_ns': np.array([ns for ns, _ in self._pictures], np.int64),
            'frame_id': np.array([frame_ids.index(m.header.frame_id) for m in firsts], np.int32),
        }
        tensors = {}
        for column in zip(*(messages for _, messages in self._pictures), strict=True):
            name, grid_hw = column[0].name, [column[0].grid_height, column[0].grid_width]
            arrays[name] = np.stack([tokens_from_message(msg) for msg in column])
            regions = [msg.region for msg in column]
            arrays[f'{name}_region'] = np.array(
                [[r.x_offset, r.y_offset, r.width, r.height] for r in regions], np.int64
            )
            tensors[name] = {'grid_hw': grid_hw}
        return arrays, {'frame_ids': frame_ids, 'tensors': tensors}


def write_shards(
    folder: Path,
    kind: str,
    topics: Mapping[str, str],
    journal: Journal,
    info: Mapping[str, Any],
    most_bytes: int,
    advance: Callable[[int], None],
) -> dict[str, list[str]]:
    """Write `<folder>/<camera>/<number>.<kind>`, each with its own provenance.

    Args:
        folder: Of the shards, which is not there yet.
        kind: Key of `FORMATS`.
        topics: Of each camera's pictures, by the camera's name.
        journal: With the features.
        info: The EncoderInfo as plain values.
        most_bytes: Of the features in a shard, after which the next is begun.
        advance: Is told how many pictures were written, now and then.

    Returns:
        Names of the shards below `folder`, by camera.

    Raises:
        BagError: They cannot be written.
    """
    shards = {camera: _Shard() for camera in topics}
    names: dict[str, list[str]] = {camera: [] for camera in topics}

    def close(camera: str) -> None:
        arrays, meta = shards[camera].arrays()
        names[camera].append(f'{camera}/{len(names[camera]):05d}.{kind}')
        told = {'camera': camera, 'topic': topics[camera], **meta, 'encoder_info': info}
        FORMATS[kind](folder / names[camera][-1], arrays, json.dumps(told))
        shards[camera] = _Shard()

    with written(folder):
        for camera in topics:
            (folder / camera).mkdir(parents=True)
        for count, made in enumerate(_encoded(journal), 1):
            messages = [features_from_bytes(raw) for raw in made.messages]
            if not shards[made.camera].fits(messages):
                close(made.camera)
            shards[made.camera].add(made.received_ns, messages)
            if shards[made.camera].bytes >= most_bytes:
                close(made.camera)
            advance(count)
        for camera, shard in shards.items():
            if shard.bytes:
                close(camera)
    return names


def _encoded(journal: Journal) -> Any:
    return (made for made in journal.read() if made.messages)


def _shapes(messages: list[Any]) -> list[tuple[int, ...]]:
    return [tuple(msg.shape) for msg in messages]
