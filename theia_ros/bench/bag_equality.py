"""What changes the bits of features: the batch, its other pictures, threads, the CPU, the backend.

python -m theia_ros.bench.bag_equality --json docs/results/bag-equality-cpu.json
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from collections.abc import Sequence
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
from theia_ros.catalog import BACKBONE
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
class Place:
    """A process in which pictures are encoded one at a time, with an engine that it builds anew.

    Attributes:
        name: For tables.
        cores: That it may use; 0 is all.
        environment: Its variables.
    """

    name: str
    cores: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)


PLACES = (
    Place('another process and a new engine'),
    Place('1 core', cores=1),
    Place('a CPU without AVX-512', environment=_AVX2),
)
"""Where features may differ from those of a batch of one, made here."""

BATCHES = (2, 4, 8)
"""Sizes whose features may differ from those of a batch of one."""

_FILES = ('1', *map(str, BATCHES), 'reversed')


def measure(
    model: str, pictures: int, backends: Sequence[str], precisions: Sequence[str]
) -> dict[str, Any]:
    """Return what is equal and what is not, for every engine that opens here.

    Args:
        model: Name or folder of the model.
        pictures: That are compared, a multiple of eight so that no batch is filled up.
        backends: That are asked for, the reference first.
        precisions: The same.
    """
    found: dict[str, Any] = {}
    truth: tuple[str, NDArray[Any]] | None = None
    for backend, precision in itertools.product(backends, precisions):
        params = EncoderParams(model=model, backend=backend, precision=precision)
        name = f'{backend} {precision}'
        try:
            here = _encode(params, Place('here'), pictures, _FILES, fresh=False)
        except EngineError as exc:
            _say(f'{name}: {exc}')
            continue
        alone = here['1']
        truth = truth or (name, alone)
        rows: dict[str, dict[str, Any]] = {truth[0]: compare(truth[1], alone)}
        for size in BATCHES:
            rows[f'batches of {size}'] = compare(alone, here[str(size)])
        rows['other pictures in batches of 8'] = compare(here['8'], here['reversed'])
        for place in PLACES:
            try:
                there = _encode(params, place, pictures, ('1',), fresh=True)
                rows[place.name] = compare(alone, there['1'])
            except EngineError as exc:
                rows[place.name] = {'not_available': str(exc)}
        for row_name, row in rows.items():
            _say(f'{name}, {row_name}: {row}')
        found[name] = rows
    return {
        **machine.describe(),
        'kind': 'bag equality',
        'model': machine.model_name(model),
        'tensor': BACKBONE,
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


def _encode(
    params: EncoderParams, place: Place, pictures: int, files: Sequence[str], *, fresh: bool
) -> dict[str, NDArray[Any]]:
    """Encode in a process of its own, in batches of each size that `files` names.

    Raises:
        EngineError: It cannot.
    """
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        if fresh:
            params = replace(params, engine_cache=f'{folder}/engines')
        task = {
            'params': asdict(params),
            'pictures': pictures,
            'cores': cores[: place.cores or None],
            'files': files,
            'folder': folder,
        }
        done = subprocess.run(
            [sys.executable, '-m', 'theia_ros.bench.bag_equality', '--task', json.dumps(task)],
            capture_output=True,
            text=True,
            env={**os.environ, **place.environment},
        )
        if done.returncode:
            said = done.stderr.strip().splitlines() or ['nothing']
            raise EngineError(said[-1].removeprefix('theia_ros.errors.EngineError: '))
        return {name: np.load(f'{folder}/{name}.npy') for name in files}


def _task(task: Mapping[str, Any]) -> None:
    # Before the libraries count the cores.
    os.sched_setaffinity(0, task['cores'])

    from theia_ros.bags.encode import Maker
    from theia_ros.bags.messages import features_from_bytes
    from theia_ros.bench.pictures import make_frames
    from theia_ros.conversions import tokens_from_message
    from theia_ros.encoder import Encoder
    from theia_ros.errors import FrameError

    frames = make_frames(task['pictures'], IMAGE_HW)
    with Encoder(make(EncoderParams, task['params'])) as encoder:
        for name in task['files']:
            order = -1 if name == 'reversed' else 1
            size = 8 if name == 'reversed' else int(name)
            maker = Maker(encoder, [BACKBONE], 'float32', size, _say)
            found = []
            for start in range(0, len(frames), size):
                for made in maker.make(frames[::order][start : start + size]):
                    assert not isinstance(made, FrameError)
                    found.append(tokens_from_message(features_from_bytes(made[0])))
            np.save(f'{task["folder"]}/{name}.npy', np.stack(found[::order]))


def _say(text: str) -> None:
    sys.stderr.write(text + '\n')


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--json', type=Path, metavar='FILE', help='where the figures go')
    parser.add_argument('--model', default='demo-dinov2-small')
    parser.add_argument('--pictures', type=int, default=16)
    parser.add_argument('--backends', nargs='+', default=BACKENDS, choices=choices('backend'))
    parser.add_argument('--precisions', nargs='+', default=PRECISIONS, choices=PRECISIONS)
    parser.add_argument('--task', type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.task:
        _task(args.task)
        return
    # The reference first: others are compared with it.
    backends = sorted(args.backends, key=lambda name: name != 'torch')
    figures = measure(args.model, args.pictures, backends, args.precisions)
    text = json.dumps(figures, indent=1) + '\n'
    if args.json:
        args.json.write_text(text)
    else:
        sys.stdout.write(text)


if __name__ == '__main__':
    _main()
