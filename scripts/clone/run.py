"""The folder of a comparison: its settings, its steps, and what is done already."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from clone import episodes
from clone import heads
from clone import judge
from clone import report
from clone.episodes import Examples
from clone.episodes import Task
from clone.heads import Policy
from clone.task import Layout
from clone.task import layout
from clone.task import SPLITS
from clone.train import fit
from clone.train import fit_linear
from theia_ros.bench import machine
from theia_ros.catalog import BACKBONE
from theia_ros.client import Origin
from theia_ros.datatypes import Frame
from theia_ros.distil import files
from theia_ros.encoder import Encoder
from theia_ros.errors import ParameterError
from theia_ros.params import EncoderParams


@dataclass(frozen=True)
class Settings:
    """What a folder was begun with; other numbers want another folder.

    Attributes:
        episodes: Of training.
        validation: Episodes to choose by.
        held_out: Starting positions to evaluate on.
        others: Things on the table that are to be left alone.
        seeds: Runs of each head.
        updates: Of each run.
        batch: Decisions in an update.
        rates: Learning rates to choose from.
        model: That gives the features.
        backend: As the node's parameter.
        precision: As the node's parameter.
    """

    episodes: int
    validation: int
    held_out: int
    others: int
    seeds: int
    updates: int
    batch: int
    rates: tuple[float, ...]
    model: str
    backend: str
    precision: str

    @property
    def counts(self) -> dict[str, int]:
        """How many episodes each split has."""
        return dict(zip(SPLITS, (self.episodes, self.validation, self.held_out), strict=True))


class Run:
    """The steps, in a folder."""

    def __init__(
        self, folder: Path, settings: Settings, kinds: list[str], make: Callable[[Layout], Task]
    ) -> None:
        """Begin or go on, and work on these kinds of heads.

        Raises:
            ParameterError: The folder was begun with other settings.
        """
        self.settings, self.kinds, self.make = settings, kinds, make
        self.episodes, self.features = folder / 'episodes', folder / 'features'
        self.heads, self.evaluations = folder / 'heads', folder / 'evaluations'
        self._seconds = folder / 'seconds.json'
        for path in (self.heads, self.evaluations):
            path.mkdir(parents=True, exist_ok=True)
        kept, wanted = folder / 'settings.json', json.loads(json.dumps(asdict(settings)))
        if not kept.exists():
            write_json(kept, wanted)
        for name, value in json.loads(kept.read_text()).items():
            if wanted.get(name) != value:
                raise ParameterError(
                    f'{folder} was begun with --{name.replace("_", "-")} {value}, found '
                    f'{wanted.get(name)}; give the same, or another --output'
                )

    # -- record ----------------------------------------------------------------------------

    def record(self) -> None:
        """Have the expert play, then encode."""
        for split, count in self.settings.counts.items():
            with self._timed('record'):
                episodes.record(self.episodes, split, count, self.settings.others, self.make)
        with self._timed('encode'), self._encoder() as encoder:
            episodes.encode(self.episodes, self.features, encoder)

    def _encoder(self) -> Encoder:
        return Encoder(
            EncoderParams(
                model=self.settings.model,
                backend=self.settings.backend,
                precision=self.settings.precision,
            )
        )

    # -- train -----------------------------------------------------------------------------

    def train(self) -> None:
        """Train what is not trained yet."""
        for kind in self.kinds:
            if len(list(self.heads.glob(f'{kind}-*.json'))) == len(self._runs(kind)):
                continue
            train, validation = self._examples(kind, 'train'), self._examples(kind, 'validation')
            with self._timed(f'train {kind}'):
                if kind == 'linear':
                    self._keep(kind, 0, 0.0, *fit_linear(train, validation))
                    continue
                scales = heads.HEADS[kind](train.tokens.shape[2])
                scales.fit_scales(train.tokens, train.states, train.actions)
                for rate in self.settings.rates:
                    self._train(kind, 0, rate, scales, train, validation)
                for seed in range(1, self.settings.seeds):
                    self._train(kind, seed, self.chosen(kind), scales, train, validation)

    def chosen(self, kind: str) -> float:
        """Return the learning rate whose run with seed 0 had the smallest validation loss."""
        losses = self._losses(kind)
        return min(losses, key=lambda rate: losses[rate])

    def _losses(self, kind: str) -> dict[float, float]:
        """Return the validation loss of seed 0, by learning rate."""
        return {r: self._note(kind, 0, r)['validation_loss'] for r in self.settings.rates}

    def _runs(self, kind: str) -> list[Any]:
        if kind == 'linear':
            return [0]
        return [*self.settings.rates, *range(1, self.settings.seeds)]

    def _train(
        self,
        kind: str,
        seed: int,
        rate: float,
        scales: Policy,
        train: Examples,
        validation: Examples,
    ) -> None:
        if not self._path(kind, seed, rate).with_suffix('.json').exists():
            updates, batch_size = self.settings.updates, self.settings.batch
            found = fit(kind, seed, rate, scales, train, validation, updates, batch_size)
            self._keep(kind, seed, rate, *found)

    def _keep(
        self, kind: str, seed: int, rate: float, policy: Policy, note: dict[str, Any]
    ) -> None:
        path = self._path(kind, seed, rate)
        heads.save(path, kind, policy, None if kind == 'pixels' else self._trained_with())
        parameters = sum(p.numel() for p in policy.parameters())
        note = {'seed': seed, 'rate': rate, 'parameters': parameters, **note}
        write_json(path.with_suffix('.json'), note)

    def _trained_with(self) -> Origin:
        return episodes.read_origin(next(self.features.glob('train-*.npz')))

    def _path(self, kind: str, seed: int, rate: float) -> Path:
        return self.heads / f'{kind}-seed{seed}-rate{rate:g}.safetensors'

    def _note(self, kind: str, seed: int, rate: float) -> dict[str, Any]:
        return read_json(self._path(kind, seed, rate).with_suffix('.json'), 'train')

    def _examples(self, kind: str, split: str) -> Examples:
        features = None if kind == 'pixels' else self.features
        return episodes.read_examples(self.episodes, features, split)

    # -- evaluate and play -----------------------------------------------------------------

    def trained(self) -> Iterator[tuple[str, int, float]]:
        """Give kind, seed and rate of every head that counts."""
        for kind in self.kinds:
            if kind == 'linear':
                yield kind, 0, 0.0
                continue
            rate = self.chosen(kind)
            for seed in range(self.settings.seeds):
                yield kind, seed, rate

    def evaluate(self) -> None:
        """Compare single actions with the expert's, for every head that is not compared yet."""
        for kind, seed, rate in self._pending(''):
            found = episodes.read_origin(self.features / 'held-out-0000.npz')
            policy = self._load(kind, seed, rate, found)
            with self._timed(f'evaluate {kind}'):
                result = judge.open_loop(policy, self._examples(kind, 'held-out'))
            write_json(self.evaluations / f'{kind}-{seed}.json', result)

    def play(self) -> None:
        """Let every head play that has not played yet."""
        pending = self._pending('-played')
        if not pending:
            return
        with self._encoder() as encoder:
            for kind, seed, rate in pending:
                policy = self._load(kind, seed, rate, heads.origin_of(encoder.provenance))
                with self._timed(f'play {kind}'):
                    played = self._closed_loop(kind, seed, policy, encoder)
                write_json(self.evaluations / f'{kind}-{seed}-played.json', {'episodes': played})

    def _pending(self, end: str) -> list[tuple[str, int, float]]:
        return [
            (kind, seed, rate)
            for kind, seed, rate in self.trained()
            if not (self.evaluations / f'{kind}-{seed}{end}.json').exists()
        ]

    def _load(self, kind: str, seed: int, rate: float, features: Origin) -> Policy:
        """Return a head, for features of an origin; one on pixels takes any.

        Raises:
            ParameterError: It was trained with others.
        """
        path = self._path(kind, seed, rate)
        policy, setup = heads.load(path)
        if setup['origin']:
            episodes.check_origin(features, setup['origin'], path.name)
        return policy

    def _closed_loop(
        self, kind: str, seed: int, policy: Policy, encoder: Encoder
    ) -> list[dict[str, Any]]:
        def act(task: Task) -> NDArray[np.float32]:
            picture = task.picture()
            if kind == 'pixels':
                tokens = heads.pixel_tokens(picture[None])
            else:  # in float16, as those of the training
                encoded = encoder.encode([Frame(picture)], [BACKBONE])[0]
                tokens = np.float16(encoded.features[BACKBONE].tokens)[None]
            states = torch.from_numpy(task.state()[None])
            return policy.actions(torch.from_numpy(tokens), states)[0].numpy()

        played = []
        numbers = range(self.settings.held_out)
        for index in tqdm(numbers, f'playing {kind}, seed {seed}', unit='episode', delay=2):
            film = [] if (seed, index) == (0, 0) else None
            task = self.make(layout('held-out', index, self.settings.others))
            try:
                played.append(judge.play(task, act, film))
            finally:
                task.close()
            if film:
                path = self.evaluations / f'{kind}-film.npz'
                episodes.write_arrays(path, {'film': np.stack(film)})
        return played

    # -- report ----------------------------------------------------------------------------

    def results(self) -> dict[str, Any]:
        """Return everything that was found.

        Raises:
            ParameterError: An earlier step is missing.
        """
        of_heads = self._of_heads()  # first, since it knows best which step is missing
        return {
            'settings': asdict(self.settings),
            'machine': machine.describe(),
            'load': machine.load(),
            'seconds': read_json(self._seconds, 'record'),
            'origin': asdict(self._trained_with()),
            'data': self._of_data(),
            'results': of_heads,
        }

    def _of_heads(self) -> dict[str, Any]:
        results: dict[str, Any] = {}
        for kind, seed, rate in self.trained():
            note = self._note(kind, seed, rate)
            found = read_json(self.evaluations / f'{kind}-{seed}.json', 'evaluate')
            entry = results.setdefault(kind, {'parameters': note['parameters'], 'seeds': []})
            played = self.evaluations / f'{kind}-{seed}-played.json'
            if played.exists():
                found |= read_json(played, 'play')
            entry['seeds'].append({**note, **found})
        for kind, entry in results.items():
            entry.update(report.summary(entry['seeds']))
            if kind != 'linear':
                losses = self._losses(kind)
                entry['validation_loss_by_rate'] = {f'{r:g}': losses[r] for r in losses}
        return results

    def _of_data(self) -> dict[str, Any]:
        layouts = {s: episodes.read_layouts(self.episodes, s) for s in SPLITS}
        spots = {s: np.array([one['cylinder_m'] for one in layouts[s]]) for s in SPLITS}
        apart = np.linalg.norm(spots['held-out'][:, None] - spots['train'][None], axis=2)
        train = self._examples('features', 'train')
        held_out = self._examples('features', 'held-out')
        return {
            'decisions': len(train.states),
            'token_shape': list(train.tokens.shape[1:]),
            'guess': judge.guess(train.actions, held_out.actions),
            'expert_done': {s: sum(one['done'] for one in layouts[s]) for s in SPLITS},
            'expert_played': {s: len(layouts[s]) for s in SPLITS},
            'held_out_to_nearest_train_m': {
                'smallest': round(float(apart.min(axis=1).min()), 4),
                'mean': round(float(apart.min(axis=1).mean()), 4),
            },
        }

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        """Add up how long a step took, by the clock and of the processors."""
        wall_s, cpu_s = time.monotonic(), time.process_time()
        try:
            yield
        finally:
            seconds = json.loads(self._seconds.read_text()) if self._seconds.exists() else {}
            before = seconds.get(step, {'wall': 0.0, 'cpu': 0.0})
            seconds[step] = {
                'wall': round(before['wall'] + time.monotonic() - wall_s, 1),
                'cpu': round(before['cpu'] + time.process_time() - cpu_s, 1),
            }
            write_json(self._seconds, seconds)


def read_json(path: Path, step: str) -> dict[str, Any]:
    """Return what a step wrote.

    Raises:
        ParameterError: It did not write it yet.
    """
    if not path.exists():
        raise ParameterError(f'{path} is not there; run the step {step} first')
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file as a whole.

    Raises:
        ParameterError: It cannot be written.
    """
    files.write(path, (json.dumps(content, indent=1) + '\n').encode())
