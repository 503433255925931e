"""Pictures as the student sees them, on disk once, in shards."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

from theia_ros.cells import SIDE
from theia_ros.distil import files
from theia_ros.distil.sources import class_names
from theia_ros.distil.sources import find
from theia_ros.distil.sources import Reading
from theia_ros.distil.sources import Sample
from theia_ros.distil.sources import samples
from theia_ros.distil.sources import stamp
from theia_ros.distil.truth import pick
from theia_ros.distil.truth import UNKNOWN
from theia_ros.errors import ParameterError
from theia_ros.preprocess import official

SHARD = 64
"""Pictures of a file."""
_MOST_OPEN = 1024
"""Files that stay mapped into memory; the system allows some ten thousand mappings in all."""
_INDEX = 'index.json'
_FORMAT = 1

Progress = Callable[[str, int, int], None]
"""Is told what is being done, how much of it is, and how much there is; 0: nobody knows."""


class Shards:
    """Tensors with one row for each picture, in files of `SHARD` rows."""

    def __init__(self, folder: Path) -> None:
        """Read what lies in a folder."""
        self._folder = folder
        self._open = lru_cache(_MOST_OPEN)(self._file)

    def path(self, shard: int) -> Path:
        """Return the file of a shard."""
        return self._folder / f'{shard:06d}.safetensors'

    def rows(self, name: str, pictures: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """Return the rows of some pictures, in their order."""
        found = [self._open(int(p) // SHARD).get_slice(name)[int(p) % SHARD] for p in pictures]
        return torch.stack(found)

    def _file(self, shard: int) -> Any:
        return safe_open(self.path(shard), framework='pt')


@dataclass(frozen=True)
class Pictures:
    """Some pictures of a data set.

    Attributes:
        pixels: (B, 224, 224, 3) uint8, as the model takes them.
        depth_m: (B, 64, 64) float32, 0 where it is not known.
        labels: (B, 64, 64) uint8, 255 where they are not known.
    """

    pixels: Tensor
    depth_m: Tensor
    labels: Tensor


_COLUMNS = ('pixels', 'depth_m', 'labels')


class Data:
    """All pictures of a run.

    Attributes:
        key: Changes with the pictures.
        skipped: Pictures that could not be decoded, by reason.
        classes: Names of the classes of the truth, as far as somebody wrote them down.
    """

    def __init__(self, folder: Path) -> None:
        """Open what `prepare` made."""
        index = json.loads((folder / _INDEX).read_text())
        self.key: str = folder.name
        self.skipped: dict[str, int] = index['skipped']
        self.classes: list[str] = index['classes']
        self._series: list[str] = index['series']
        self._apart: list[bool] = index['apart']
        self._names: list[str] = index['names']
        self._has_truth: bool = index['has_truth']
        self._shards = Shards(folder)

    def __len__(self) -> int:
        return len(self._names)

    @property
    def has_truth(self) -> bool:
        """Whether a simulator knows depth and classes of some picture."""
        return self._has_truth

    def pictures(self, wanted: Sequence[int] | NDArray[np.int64]) -> Pictures:
        """Return some pictures."""
        return Pictures(*(self._shards.rows(name, wanted) for name in _COLUMNS))

    def pixels(self, wanted: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """Return the pixels of some pictures, (B, 224, 224, 3) uint8."""
        return self._shards.rows('pixels', wanted)

    def split(self, held_out: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return which pictures are learned from, and which are held out.

        Those of `--held-out-data` are. If there are none: of single pictures some, drawn by
        their names, and the last part of each series, since its neighbours look alike.
        """
        apart = np.array(self._apart)
        if not apart.any() and held_out:
            apart = np.array(list(self._held_out(held_out)))
        return np.flatnonzero(~apart), np.flatnonzero(apart)

    def _held_out(self, part: float) -> Iterator[bool]:
        counts, seen = Counter(self._series), Counter[str]()
        for name, series in zip(self._names, self._series, strict=True):
            if series:
                yield seen[series] >= round((1 - part) * counts[series])
                seen[series] += 1
            else:
                drawn = hashlib.sha256(name.encode()).digest()
                yield int.from_bytes(drawn[:4], 'big') < part * 2**32


def prepare(
    learned: Sequence[Path],
    held_out: Sequence[Path],
    reading: Reading,
    root: Path,
    progress: Progress,
) -> Data:
    """Read all pictures, or find those of an earlier run.

    Args:
        learned: Files and folders to learn from.
        held_out: Files and folders to judge by, if they are others.
        reading: How they are taken from videos and bags.
        root: Folder of everything that is kept.
        progress: Is told of it.

    Raises:
        ParameterError: There is nothing to read, or the disk is full.
    """
    parts = [(path, False) for path in find(learned)] + [(path, True) for path in find(held_out)]
    listed = [[stamp(path), apart] for path, apart in parts]
    described = json.dumps([_FORMAT, SHARD, asdict(reading), listed])
    folder = root / f'pictures-{hashlib.sha256(described.encode()).hexdigest()[:12]}'
    if not (folder / _INDEX).is_file():
        _read(parts, reading, folder, progress)
    return Data(folder)


def _read(
    parts: Sequence[tuple[Path, bool]], reading: Reading, folder: Path, progress: Progress
) -> None:
    shards, skipped = Shards(folder), Counter[str]()
    names: list[str] = []
    series: list[str] = []
    aparts: list[bool] = []
    classes: list[str] = []
    has_truth = False
    waiting: list[Pictures] = []

    def store() -> None:
        columns = {name: [getattr(one, name) for one in waiting] for name in _COLUMNS}
        tensors = {name: torch.cat(rows) for name, rows in columns.items()}
        files.write_tensors(shards.path((len(names) - 1) // SHARD), tensors)
        waiting.clear()

    for done, (path, apart) in enumerate(parts):
        progress('reading pictures', done, len(parts))
        for sample in samples(path, reading, skipped):
            names.append(sample.name)
            series.append(sample.series)
            aparts.append(apart)
            if sample.labels is not None:
                has_truth, classes = True, classes or class_names(path)
            waiting.append(_as_model_sees(sample))
            if len(waiting) == SHARD:
                store()
    if not names:
        reasons = ', '.join(f'{count} {reason}' for reason, count in skipped.items())
        raise ParameterError(f'no picture can be read; skipped: {reasons or "nothing"}')
    if waiting:
        store()
    index = {
        'names': names,
        'series': series,
        'apart': aparts,
        'skipped': dict(skipped),
        'classes': classes,
        'has_truth': has_truth,
    }
    # Last, since it says that the shards are complete.
    files.write(folder / _INDEX, json.dumps(index).encode())


def _as_model_sees(sample: Sample) -> Pictures:
    depth_m, labels = np.zeros((SIDE, SIDE), np.float32), np.full((SIDE, SIDE), UNKNOWN, np.uint8)
    if sample.depth_m is not None and sample.labels is not None:
        depth_m, labels = pick(sample.depth_m), pick(sample.labels)
    arrays = (np.array(official(sample.rgb)), depth_m, labels)
    return Pictures(*(torch.from_numpy(array)[None] for array in arrays))
