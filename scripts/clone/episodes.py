"""Episodes of the clone policy on disk: pictures, states and actions, and features beside them.

EPISODES/train-0007.npz   what the expert saw and did, and the layout that it began with
FEATURES/train-0007.npz   tokens of the pictures, float16, and the origin of the features
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from clone.heads import origin_of
from clone.heads import pixel_tokens
from clone.task import Layout
from clone.task import layout
from clone.task import MOST_DECISIONS
from theia_ros.catalog import BACKBONE
from theia_ros.client import Origin
from theia_ros.datatypes import Frame
from theia_ros.distil import files
from theia_ros.encoder import Encoder
from theia_ros.errors import ParameterError

_NOISE_M = 0.015
_NOISY = 0.3
"""How often the hand goes elsewhere than the expert wanted, in training only."""


class Task(Protocol):
    """What is recorded: `task.PickTask`, or a stand-in for it."""

    begin: Layout

    @property
    def done(self) -> bool: ...
    @property
    def lifted(self) -> bool: ...
    def picture(self) -> NDArray[np.uint8]: ...
    def overview(self) -> NDArray[np.uint8]: ...
    def state(self) -> NDArray[np.float32]: ...
    def expert(self) -> NDArray[np.float32]: ...
    def act(self, action: NDArray[Any]) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Examples:
    """All decisions of a split, in order.

    Attributes:
        tokens: (N, 196, C), float16 features or uint8 pixels.
        states: (N, 4) float32.
        actions: (N, 4) float32.
    """

    tokens: Tensor
    states: Tensor
    actions: Tensor


def record(
    folder: Path, split: str, count: int, others: int, make: Callable[[Layout], Task]
) -> None:
    """Let the expert play the episodes of a split that are not there yet.

    In training the hand is pushed off its way now and then, and what the expert wants next is
    recorded, so that the policy learns to come back. Episodes that fail are kept, and say so.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for index in tqdm(range(count), f'recording {split}', unit='episode', delay=2):
        path = folder / f'{split}-{index:04}.npz'
        if path.exists():
            continue
        task = make(layout(split, index, others))
        try:
            episode = _play(task, noisy=split == 'train')
        finally:
            task.close()
        write_arrays(path, episode)


def _play(task: Task, noisy: bool) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng([task.begin.seed, 2])
    pictures, states, actions = [], [], []
    while not task.done and len(actions) < MOST_DECISIONS:
        action = task.expert()
        pictures.append(task.picture())
        states.append(task.state())
        actions.append(action)
        push = rng.normal(0, _NOISE_M, 3) * (rng.random() < _NOISY)
        # Never while the fingers move: that would need luck, not correction.
        moving = noisy and action[:3].any()
        task.act(action + np.append(push, 0) if moving else action)
    return {
        'pictures': np.stack(pictures),
        'states': np.stack(states),
        'actions': np.stack(actions),
        'done': np.bool_(task.done),
        'layout': np.array(json.dumps(asdict(task.begin))),
    }


def encode(episodes: Path, folder: Path, encoder: Encoder) -> None:
    """Encode the pictures of episodes whose features are not there yet.

    Args:
        episodes: Folder of the episodes.
        folder: Folder of the features.
        encoder: As the node has it.

    Raises:
        ParameterError: Features are there that another encoder made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    origin = origin_of(encoder.provenance)
    for path in tqdm(sorted(episodes.glob('*.npz')), 'encoding', unit='episode', delay=2):
        kept = folder / path.name
        if kept.exists():
            check_origin(origin, read_origin(kept), str(kept))
            continue
        pictures = _read(path)['pictures']
        tokens = []
        for start in range(0, len(pictures), encoder.max_batch):
            frames = [Frame(p) for p in pictures[start : start + encoder.max_batch]]
            tokens += [e.features[BACKBONE].tokens for e in encoder.encode(frames, [BACKBONE])]
        arrays = {'tokens': np.float16(tokens), 'origin': np.array(origin.to_json())}
        write_arrays(kept, arrays, compressed=False)  # floats hardly shrink


def check_origin(found: Origin, trained: Origin, what: str) -> None:
    """Refuse features of another origin than those of `what`.

    Raises:
        ParameterError: They differ; it says in what.
    """
    if found.digest != trained.digest:
        differs = '; '.join(found.differences(trained)) or 'the version of the arithmetic'
        raise ParameterError(f'{what} is of other features than the encoder gives: {differs}')


def read_origin(path: Path) -> Origin:
    """Return what the features in a file were made with."""
    return Origin.from_json(str(_read(path)['origin']))


def read_layouts(episodes: Path, split: str) -> list[dict[str, Any]]:
    """Return how the episodes of a split began, and whether they ended well, as `done`."""
    found = []
    for path in sorted(episodes.glob(f'{split}-*.npz')):
        episode = _read(path)
        found.append({**json.loads(str(episode['layout'])), 'done': bool(episode['done'])})
    return found


def read_examples(episodes: Path, features: Path | None, split: str) -> Examples:
    """Return the decisions of all episodes of a split that ended well.

    Args:
        episodes: Folder of the episodes.
        features: Folder of their features; None for pixels.
        split: Of `task.SPLITS`.

    Raises:
        ParameterError: There are none, or they have no features.
    """
    tokens, states, actions = [], [], []
    for path in tqdm(sorted(episodes.glob(f'{split}-*.npz')), f'reading {split}', delay=2):
        episode = _read(path)
        if not episode['done']:
            continue
        if features is None:
            tokens.append(pixel_tokens(episode['pictures']))
        else:
            tokens.append(_read(features / path.name)['tokens'])
        states.append(episode['states'])
        actions.append(episode['actions'])
    if not tokens:
        raise ParameterError(f'no {split} episode in {episodes} ended well; record some first')
    return Examples(*(torch.from_numpy(np.concatenate(x)) for x in (tokens, states, actions)))


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError) as exc:
        raise ParameterError(f'{path} cannot be read: {exc}; delete it, and record again') from exc


def write_arrays(
    path: Path, arrays: Mapping[str, NDArray[Any]], *, compressed: bool = True
) -> None:
    """Write an .npz file as a whole.

    Raises:
        ParameterError: It cannot be written.
    """
    content = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(content, **arrays)
    files.write(path, content.getvalue())
