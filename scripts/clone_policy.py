"""Clone an expert in the simulator, from frozen features and from raw pixels, and compare.

record    the expert takes a cylinder from the table to the tray, in scenes that all look
          different; the pictures of the hand's camera are encoded once, as the node encodes them
train     the same head on features and on pixels, and a linear one on features; learning rates
          are chosen on validation, and the best of each run is kept
evaluate  how far single actions are from the expert's, in episodes that began where training
          never does
play      whole episodes in the simulator, from the same places
report    results.json, table.md and filmstrip.jpg; without play, a table without successes

What is done already is not done again, so a run that was cut goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import fields
from pathlib import Path
from typing import Any

# Threads that wait must not spin: beside other work that makes training ten times slower.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

import clone_data
import clone_head
import clone_report
import numpy as np
import torch
from clone_data import complete
from clone_data import Examples
from clone_data import Task
from clone_task import Layout
from clone_task import layout
from clone_task import MOST_DECISIONS
from clone_task import PickTask
from clone_task import SPLITS
from numpy.typing import NDArray
from tqdm import tqdm

from theia_ros.bench import machine
from theia_ros.catalog import BACKBONE
from theia_ros.datatypes import Frame
from theia_ros.encoder import Encoder
from theia_ros.errors import ParameterError
from theia_ros.errors import TheiaRosError
from theia_ros.params import EncoderParams

STEPS = ('record', 'train', 'evaluate', 'play', 'report')
EXAMPLES = """examples:
  scripts/clone_policy --output clone                                  # everything
  scripts/clone_policy --output try --episodes 10 --validation 3 --held-out 3 --updates 50
  scripts/clone_policy --output clone record train evaluate report     # without playing
  scripts/clone_policy --output clone report --results docs/results/clone-policy-cpu.json

needs the simulator in the environment of scripts/setup:
  . scripts/env.sh; pip install mujoco==3.3.7; pip install --no-deps robosuite==1.5.2
  and on Debian or Ubuntu: apt install libegl1 libgl1 libgl1-mesa-dri
"""
_PENALTIES = (1e-2, 1e-1, 1.0, 1e1, 1e2)
"""Of the linear head, times the mean of its kernel's diagonal."""
_LOOKS = 20
"""How often a run looks at the validation."""
_FILMED = 4
"""Every so many decisions are in the film."""


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

    def count(self, split: str) -> int:
        """Return how many episodes a split has."""
        return dict(zip(SPLITS, (self.episodes, self.validation, self.held_out), strict=True))[
            split
        ]


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
            _write(kept, wanted)
        for name, value in json.loads(kept.read_text()).items():
            if wanted.get(name) != value:
                raise ParameterError(
                    f'{folder} was begun with --{name.replace("_", "-")} {value}, found '
                    f'{wanted.get(name)}; give the same, or another --output'
                )

    # -- record ----------------------------------------------------------------------------

    def record(self) -> None:
        """Have the expert play, then encode."""
        for split in SPLITS:
            with self._timed('record'):
                clone_data.record(
                    self.episodes,
                    split,
                    self.settings.count(split),
                    self.settings.others,
                    self.make,
                )
        with self._timed('encode'), self._encoder() as encoder:
            clone_data.encode(self.episodes, self.features, encoder)

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
                scales = clone_head.HEADS[kind](train.tokens.shape[2])
                scales.fit_scales(train.tokens, train.states, train.actions)
                for rate in self.settings.rates:
                    self._train(kind, 0, rate, scales, train, validation)
                for seed in range(1, self.settings.seeds):
                    self._train(kind, seed, self.chosen(kind), scales, train, validation)

    def chosen(self, kind: str) -> float:
        """Return the learning rate whose run with seed 0 had the smallest validation loss."""
        tried = {r: self._note(kind, 0, r)['validation_loss'] for r in self.settings.rates}
        return min(tried, key=lambda rate: tried[rate])

    def _runs(self, kind: str) -> list[Any]:
        if kind == 'linear':
            return [0]
        return [*self.settings.rates, *range(1, self.settings.seeds)]

    def _train(
        self,
        kind: str,
        seed: int,
        rate: float,
        scales: clone_head.Policy,
        train: Examples,
        validation: Examples,
    ) -> None:
        if not self._path(kind, seed, rate).with_suffix('.json').exists():
            found = fit(kind, seed, rate, scales, train, validation, self.settings)
            self._keep(kind, seed, rate, *found)

    def _keep(
        self, kind: str, seed: int, rate: float, policy: clone_head.Policy, note: dict[str, Any]
    ) -> None:
        path = self._path(kind, seed, rate)
        origin = None
        if kind != 'pixels':
            origin = clone_data.read_origin(next(self.features.glob('train-*.npz')))
        clone_head.save(path, kind, policy, origin)
        note = {'seed': seed, 'rate': rate, 'parameters': _size(policy), **note}
        _write(path.with_suffix('.json'), note)

    def _path(self, kind: str, seed: int, rate: float) -> Path:
        return self.heads / f'{kind}-seed{seed}-rate{rate:g}.safetensors'

    def _note(self, kind: str, seed: int, rate: float) -> dict[str, Any]:
        return read_json(self._path(kind, seed, rate).with_suffix('.json'), 'train')

    def _examples(self, kind: str, split: str) -> Examples:
        features = None if kind == 'pixels' else self.features
        return clone_data.read_examples(self.episodes, features, split)

    # -- evaluate --------------------------------------------------------------------------

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
            policy, setup = clone_head.load(self._path(kind, seed, rate))
            if setup['origin']:
                found = clone_data.read_origin(self.features / 'held-out-0000.npz')
                clone_data.check_origin(found, setup['origin'], self._path(kind, seed, rate).name)
            with self._timed(f'evaluate {kind}'):
                result = open_loop(policy, self._examples(kind, 'held-out'))
            _write(self.evaluations / f'{kind}-{seed}.json', result)

    def play(self) -> None:
        """Let every head play that has not played yet."""
        pending = self._pending('-played')
        if not pending:
            return
        with self._encoder() as encoder:
            for kind, seed, rate in pending:
                policy, setup = clone_head.load(self._path(kind, seed, rate))
                if setup['origin']:
                    found = clone_head.origin_of(encoder.provenance)
                    name = self._path(kind, seed, rate).name
                    clone_data.check_origin(found, setup['origin'], name)
                with self._timed(f'play {kind}'):
                    episodes = self._closed_loop(kind, seed, policy, encoder)
                _write(self.evaluations / f'{kind}-{seed}-played.json', {'episodes': episodes})

    def _pending(self, end: str) -> list[tuple[str, int, float]]:
        return [
            (kind, seed, rate)
            for kind, seed, rate in self.trained()
            if not (self.evaluations / f'{kind}-{seed}{end}.json').exists()
        ]

    def _closed_loop(
        self, kind: str, seed: int, policy: clone_head.Policy, encoder: Encoder
    ) -> list[dict[str, Any]]:
        def act(task: Task) -> NDArray[np.float32]:
            picture = task.picture()
            if kind == 'pixels':
                tokens = clone_head.pixel_tokens(picture[None])
            else:  # in float16, as those of the training
                encoded = encoder.encode([Frame(picture)], [BACKBONE])[0]
                tokens = np.float16(encoded.features[BACKBONE].tokens)[None]
            states = torch.from_numpy(task.state()[None])
            return policy.actions(torch.from_numpy(tokens), states)[0].numpy()

        episodes = []
        numbers = range(self.settings.held_out)
        for index in tqdm(numbers, f'playing {kind}, seed {seed}', unit='episode', delay=2):
            film = [] if (seed, index) == (0, 0) else None
            task = self.make(layout('held-out', index, self.settings.others))
            try:
                episodes.append(play(task, act, film))
            finally:
                task.close()
            if film:
                kept = self.evaluations / f'{kind}-film.npz'
                with complete(kept) as part, part.open('wb') as file:
                    np.savez_compressed(file, film=np.stack(film))
        return episodes

    # -- report ----------------------------------------------------------------------------

    def results(self) -> dict[str, Any]:
        """Return everything that was found.

        Raises:
            ParameterError: An earlier step is missing.
        """
        layouts = {s: clone_data.read_layouts(self.episodes, s) for s in SPLITS}
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
            entry.update(clone_report.summary(entry['seeds']))
            if kind != 'linear':
                rates = self.settings.rates
                entry['validation_loss_by_rate'] = {
                    f'{r:g}': self._note(kind, 0, r)['validation_loss'] for r in rates
                }
        spots = {s: np.array([one['cylinder_m'] for one in layouts[s]]) for s in SPLITS}
        apart = np.linalg.norm(spots['held-out'][:, None] - spots['train'][None], axis=2)
        train = self._examples('features', 'train')
        held_out = self._examples('features', 'held-out')
        origin = clone_data.read_origin(next(self.features.glob('train-*.npz')))
        return {
            'settings': asdict(self.settings),
            'machine': machine.describe(),
            'load': machine.load(),
            'seconds': read_json(self._seconds, 'record'),
            'origin': asdict(origin),
            'data': {
                'decisions': len(train.states),
                'token_shape': list(train.tokens.shape[1:]),
                'guess': guess(train.actions, held_out.actions),
                'expert_done': {s: sum(one['done'] for one in layouts[s]) for s in SPLITS},
                'expert_played': {s: len(layouts[s]) for s in SPLITS},
                'held_out_to_nearest_train_m': {
                    'smallest': round(float(apart.min(axis=1).min()), 4),
                    'mean': round(float(apart.min(axis=1).mean()), 4),
                },
            },
            'results': results,
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
            _write(self._seconds, seconds)


def fit(
    kind: str,
    seed: int,
    rate: float,
    scales: clone_head.Policy,
    train: Examples,
    validation: Examples,
    settings: Settings,
) -> tuple[clone_head.Policy, dict[str, Any]]:
    """Train a head, and return the best of the run by its validation loss, and how it went."""
    torch.manual_seed(seed)
    head = clone_head.HEADS[kind](train.tokens.shape[2])
    head.load_state_dict({n: t for n, t in scales.state_dict().items() if n[:3] == 'of_'}, False)
    optimizer = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.updates)
    # The same batches for every kind of head.
    order = torch.Generator().manual_seed(seed)
    best, curve = (float('inf'), 0, {}), []
    for update in tqdm(range(1, settings.updates + 1), f'{kind}, seed {seed}, {rate:g}', delay=2):
        batch = torch.randint(len(train.states), (settings.batch,), generator=order)
        raw = head(train.tokens[batch].float(), train.states[batch])
        value = clone_head.loss(raw, clone_head.targets(head, train.actions[batch]))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
        if update % max(1, settings.updates // _LOOKS) == 0 or update == settings.updates:
            found = _loss(head, validation)
            curve.append([update, round(value.item(), 5), round(found, 5)])
            if found < best[0]:
                best = found, update, {n: t.clone() for n, t in head.state_dict().items()}
    head.load_state_dict(best[2])
    return head.eval(), {
        'validation_loss': round(best[0], 5),
        'best_update': best[1],
        'update_train_validation': curve,
    }


@torch.no_grad()
def _loss(head: clone_head.Policy, examples: Examples) -> float:
    head.eval()
    raw = torch.cat(
        [
            head(t.float(), s)
            for t, s in zip(examples.tokens.split(128), examples.states.split(128), strict=True)
        ]
    )
    head.train()
    return float(clone_head.loss(raw, clone_head.targets(head, examples.actions)))


@torch.no_grad()
def fit_linear(train: Examples, validation: Examples) -> tuple[clone_head.Policy, dict[str, Any]]:
    """Return the linear head with the penalty that is best on validation: ridge regression."""
    head = clone_head.LinearHead(train.tokens.shape[2])
    head.fit_scales(train.tokens, train.states, train.actions)

    def inputs(examples: Examples) -> torch.Tensor:
        parts = zip(examples.tokens.split(128), examples.states.split(128), strict=True)
        return torch.cat([head.inputs(t.float(), s) for t, s in parts])

    def wanted(examples: Examples) -> torch.Tensor:
        found = clone_head.targets(head, examples.actions)
        return torch.cat([found[:, :-1], 2 * found[:, -1:] - 1], dim=1)

    x, y = inputs(train), wanted(train)
    centre, middle = x.mean(0), y.mean(0)
    x -= centre
    # By the kernel, since there are fewer examples than inputs.
    values, vectors = torch.linalg.eigh((x @ x.T).double())
    turned = vectors.T @ (y - middle).double()
    seen, right = inputs(validation) - centre, wanted(validation)
    best: tuple[float, float, torch.Tensor] = (float('inf'), 0.0, torch.zeros(0))
    for penalty in _PENALTIES:
        held = values.clamp_min(0) + penalty * values.mean()
        weights = x.T @ (vectors @ (turned / held[:, None])).float()
        error = float((seen @ weights + middle - right).square().mean())
        if error < best[0]:
            best = error, penalty, weights
    head.last.weight.copy_(best[2].T)
    head.last.bias.copy_(middle - centre @ best[2])
    return head.eval(), {'validation_loss': round(best[0], 5), 'penalty': best[1]}


def open_loop(policy: clone_head.Policy, examples: Examples) -> dict[str, Any]:
    """Return how far single actions are from the expert's."""
    return _compared(policy.actions(examples.tokens, examples.states), examples.actions)


def guess(train: torch.Tensor, wanted: torch.Tensor) -> dict[str, Any]:
    """Return the same for who looks at nothing: always the mean move and the usual grip."""
    mean = train.mean(dim=0)
    mean[3] = (mean[3] > 0.5).float()
    return _compared(mean.expand(len(wanted), -1), wanted)


def _compared(actions: torch.Tensor, wanted: torch.Tensor) -> dict[str, Any]:
    away_m = (actions[:, :3] - wanted[:, :3]).norm(dim=1)
    right = (actions[:, 3] == wanted[:, 3]).float()
    return {
        'move_error_mm': round(1000 * float(away_m.mean()), 2),
        'move_error_p95_mm': round(1000 * float(away_m.quantile(0.95)), 2),
        'grip_right': round(float(right.mean()), 4),
        'decisions': len(actions),
        'first_errors_mm': [round(1000 * float(e), 1) for e in away_m[:MOST_DECISIONS]],
    }


def play(
    task: Task, act: Callable[[Task], NDArray[np.float32]], film: list[NDArray[np.uint8]] | None
) -> dict[str, Any]:
    """Let a policy play one episode; return whether it lifted the thing and brought it home."""
    lifted, decisions = False, 0
    while not task.done and decisions < MOST_DECISIONS:
        if film is not None and decisions % _FILMED == 0:
            film.append(task.overview())
        task.act(act(task))
        decisions += 1
        lifted |= task.lifted
    if film is not None:
        film.append(task.overview())
    return {'done': task.done, 'lifted': lifted, 'decisions': decisions}


def read_json(path: Path, step: str) -> dict[str, Any]:
    """Return what a step wrote.

    Raises:
        ParameterError: It did not write it yet.
    """
    if not path.exists():
        raise ParameterError(f'{path} is not there; run the step {step} first')
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _write(path: Path, content: dict[str, Any]) -> None:
    with complete(path) as part:
        part.write_text(json.dumps(content, indent=1) + '\n')


def _size(policy: clone_head.Policy) -> int:
    return sum(p.numel() for p in policy.parameters())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='scripts/clone_policy',
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def whole(text: str) -> int:
        value = int(text)
        if value < 1:
            raise argparse.ArgumentTypeError(f'{value} is not positive')
        return value

    add = parser.add_argument
    add('steps', nargs='*', metavar='STEP', help=f'of {", ".join(STEPS)}; all of them by default')
    add('--output', type=Path, required=True, metavar='DIR', help='folder, new or to go on in')
    add('--episodes', type=whole, default=80, help='of training (%(default)s)')
    add('--validation', type=whole, default=12, help='episodes to choose by (%(default)s)')
    add('--held-out', type=whole, default=20, help='starts to evaluate on (%(default)s)')
    add('--others', type=int, choices=range(5), default=2, help='other things (%(default)s)')
    add('--seeds', type=whole, default=3, help='runs of each head (%(default)s)')
    add('--updates', type=whole, default=600, help='of each run (%(default)s)')
    add('--batch', type=whole, default=64, help='decisions in an update (%(default)s)')
    add('--rates', type=float, nargs='+', default=[1e-3, 3e-3], help='learning rates to try')
    add('--model', default='demo-dinov2-small', help='that gives the features (%(default)s)')
    add('--backend', default='auto', help='as the parameter of the node (%(default)s)')
    add('--precision', default='auto', help='as the parameter of the node (%(default)s)')
    add(
        '--heads',
        nargs='+',
        choices=clone_head.HEADS,
        default=[*clone_head.HEADS],
        help='kinds to train, evaluate and report now (all)',
    )
    add('--threads', type=whole, help='of torch; 1 is best where others compute, too')
    add('--results', type=Path, metavar='FILE', help='of the report; DIR/results.json')
    add('--picture', type=Path, metavar='FILE', help='of the report; DIR/filmstrip.jpg')
    return parser


def main(argv: list[str] | None = None, make: Callable[[Layout], Task] = PickTask) -> int:
    """Run the command line; return the exit status."""
    args = _parser().parse_args(argv)
    unknown = [step for step in args.steps if step not in STEPS]
    if unknown:
        return _fail(f'unknown step {unknown[0]!r}; expected {", ".join(STEPS)}')
    if args.threads:
        torch.set_num_threads(args.threads)
    names = [f.name for f in fields(Settings)]
    settings = Settings(
        **{name: getattr(args, name) for name in names} | {'rates': (*args.rates,)}
    )
    try:
        args.output.mkdir(parents=True, exist_ok=True)
        run = Run(args.output, settings, args.heads, make)
        for step in STEPS:
            if args.steps and step not in args.steps:
                continue
            if step == 'report':
                results = run.results()
                _write(args.results or args.output / 'results.json', results)
                table = clone_report.table(results)
                (args.output / 'table.md').write_text(table)
                picture = args.picture or args.output / 'filmstrip.jpg'
                clone_report.filmstrip(run.episodes, run.evaluations, results, picture)
                print(table, end='')
            else:
                getattr(run, step)()
    except (TheiaRosError, OSError) as exc:
        return _fail(str(exc))
    except KeyboardInterrupt:
        return 130
    return 0


def _fail(message: str) -> int:
    print(f'clone_policy: {message}', file=sys.stderr)
    return 2


if __name__ == '__main__':
    sys.exit(main())
