"""What changes the bits of features: the batch, its other pictures, threads, the CPU, the backend.

python -m theia_ros.bench.bag_equality --json docs/results/bag-equality-cpu.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theia_ros.bench import machine
from theia_ros.bench.contenders import BACKENDS
from theia_ros.bench.contenders import PRECISIONS
from theia_ros.errors import EngineError
from theia_ros.params import choices
from theia_ros.params import EncoderParams
from theia_ros.params import make

IMAGE_HW = (480, 640)

_AVX2 = {
    'ATEN_CPU_CAPABILITY': 'avx2',
    'MKL_ENABLE_INSTRUCTIONS': 'AVX2',
    'ONEDNN_MAX_CPU_ISA': 'AVX2',
}
"""Lets a newer CPU compute as one without AVX-512 would."""


@dataclass(frozen=True)
class Condition:
    """How pictures are encoded.

    Attributes:
        name: For tables.
        batch: Pictures of one pass, as of `theia-ros bag --batch`.
        reverse: Whether the last picture comes first, so that each has other neighbours.
        fresh: Whether the engine is built anew.
        cores: That the process may use; 0 is all.
        environment: Variables of the process.
    """

    name: str
    batch: int = 1
    reverse: bool = False
    fresh: bool = False
    cores: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)


CONDITIONS = (
    Condition('again'),
    Condition('engine built anew', fresh=True),
    Condition('1 core', cores=1, fresh=True),
    Condition('without AVX-512', environment=_AVX2, fresh=True),
    Condition('batch 2', 2),
    Condition('batch 4', 4),
    Condition('batch 8', 8),
)
"""Each is compared with batches of one, and each in a process of its own."""

NEIGHBOURS = Condition('batch 8, other neighbours', 8, reverse=True)
"""Compared with batches of eight."""


def measure(model: str, pictures: int, backends: tuple[str, ...]) -> dict[str, Any]:
    """Return what is equal and what is not, for every backend and precision that opens here.

    Args:
        model: Name or folder of the model.
        pictures: That are compared, a multiple of eight so that no batch is filled up.
        backends: That are asked for.
    """
    found: dict[str, Any] = {}
    truth: tuple[str, NDArray[Any]] | None = None
    for params in _all_params(model, backends):
        try:
            alone = _encode(params, Condition('batch 1'), pictures)
        except EngineError as exc:
            _say(f'{params.backend} {params.precision}: {exc}')
            continue
        name = f'{params.backend} {params.precision}'
        truth = truth or (name, alone)
        rows: dict[str, dict[str, Any]] = {truth[0]: compare(truth[1], alone)}
        eight = alone
        for condition in CONDITIONS:
            try:
                other = _encode(params, condition, pictures)
            except EngineError as exc:
                rows[condition.name] = {'not_available': str(exc)}
                continue
            rows[condition.name] = compare(alone, other)
            eight = other  # the last one
        rows[NEIGHBOURS.name] = compare(eight, _encode(params, NEIGHBOURS, pictures))
        for condition_name, row in rows.items():
            _say(f'{name}, {condition_name}: {json.dumps(row)}')
        found[name] = rows
    return {
        **machine.describe(),
        'kind': 'bag equality',
        'model': machine.model_name(model),
        'tensor': 'theia',
        'pictures': pictures,
        'image_hw': list(IMAGE_HW),
        'engines': found,
    }


def compare(a: NDArray[Any], b: NDArray[Any]) -> dict[str, float | int]:
    """Return how far the features of pictures differ, (pictures, N, C) both."""
    x, y = (values.reshape(len(values), -1).astype(np.float64) for values in (a, b))
    tokens = [v.reshape(-1, a.shape[-1]).astype(np.float64) for v in (a, b)]
    norms = np.linalg.norm(tokens[0], axis=1) * np.linalg.norm(tokens[1], axis=1)
    return {
        'equal_pictures': sum(p.tobytes() == q.tobytes() for p, q in zip(a, b, strict=True)),
        'max_abs_difference': float(np.abs(x - y).max()),
        'relative_l2': float(np.linalg.norm(x - y) / np.linalg.norm(x)),
        'least_cosine': float(((tokens[0] * tokens[1]).sum(axis=1) / norms).min()),
    }


def _all_params(model: str, backends: tuple[str, ...]) -> Iterator[EncoderParams]:
    """Give what opens each engine, the reference first."""
    for backend in backends:
        for precision in PRECISIONS:
            yield EncoderParams(model=model, backend=backend, precision=precision)


def _encode(params: EncoderParams, condition: Condition, pictures: int) -> NDArray[Any]:
    """Encode in a process of its own.

    Raises:
        EngineError: It cannot.
    """
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        out = f'{folder}/features.npy'
        if condition.fresh:
            params = replace(params, engine_cache=f'{folder}/engines')
        task = {
            'params': asdict(params),
            'batch': condition.batch,
            'reverse': condition.reverse,
            'pictures': pictures,
            'cores': cores[: condition.cores or None],
            'out': out,
        }
        done = subprocess.run(
            [sys.executable, '-m', 'theia_ros.bench.bag_equality', '--task', json.dumps(task)],
            capture_output=True,
            text=True,
            env={**os.environ, **condition.environment},
        )
        if done.returncode:
            said = done.stderr.strip().splitlines() or ['nothing']
            raise EngineError(said[-1].removeprefix('theia_ros.errors.EngineError: '))
        features: NDArray[Any] = np.load(out)
        return features


def _task(task: Mapping[str, Any]) -> None:
    # Before the libraries count the cores.
    os.sched_setaffinity(0, task['cores'])

    from theia_ros.bags.encode import Maker
    from theia_ros.bags.messages import features_from_bytes
    from theia_ros.bench.pictures import make_frames
    from theia_ros.conversions import tokens_from_message
    from theia_ros.encoder import Encoder
    from theia_ros.errors import FrameError

    order = -1 if task['reverse'] else 1
    frames = make_frames(task['pictures'], IMAGE_HW)[::order]
    found = []
    with Encoder(make(EncoderParams, task['params'])) as encoder:
        maker = Maker(encoder, ['theia'], 'float32', task['batch'], _say)
        for start in range(0, len(frames), task['batch']):
            for made in maker.make(frames[start : start + task['batch']]):
                assert not isinstance(made, FrameError)
                found.append(tokens_from_message(features_from_bytes(made[0])))
    np.save(task['out'], np.stack(found[::order]))


def _say(text: str) -> None:
    sys.stderr.write(text + '\n')


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--json', type=Path, metavar='FILE', help='where the figures go')
    parser.add_argument('--model', default='demo-dinov2-small')
    parser.add_argument('--pictures', type=int, default=16)
    parser.add_argument('--backends', nargs='+', default=BACKENDS, choices=choices('backend'))
    parser.add_argument('--task', type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.task:
        _task(args.task)
        return
    # The reference first: others are compared with it.
    backends = sorted(args.backends, key=lambda name: name != 'torch')
    text = json.dumps(measure(args.model, args.pictures, tuple(backends)), indent=1) + '\n'
    if args.json:
        args.json.write_text(text)
    else:
        sys.stdout.write(text)


if __name__ == '__main__':
    _main()
