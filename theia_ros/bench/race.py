"""The benchmark of the encoder: open everyone, compare, time in turns, measure memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import replace
from typing import Any

from tqdm import tqdm

from theia_ros.bench import fresh
from theia_ros.bench import machine
from theia_ros.bench.baseline import BASELINE
from theia_ros.bench.baseline import Baseline
from theia_ros.bench.baseline import DESCRIPTION
from theia_ros.bench.contenders import Contender
from theia_ros.bench.contenders import open_contender
from theia_ros.bench.contenders import Runner
from theia_ros.bench.equality import check
from theia_ros.bench.equality import LIMITS
from theia_ros.bench.pictures import make_frames
from theia_ros.bench.rounds import compare_with_single
from theia_ros.bench.rounds import rows
from theia_ros.bench.rounds import time_case
from theia_ros.catalog import check_tensors
from theia_ros.datatypes import Frame
from theia_ros.encoder import Encoder
from theia_ros.errors import EngineError
from theia_ros.errors import ParameterError
from theia_ros.params import EncoderParams

SCHEMA = 1
"""Of the JSON document; grows when a field changes its meaning or goes."""


@dataclass(frozen=True)
class Settings:
    """What to measure.

    Attributes:
        backends: Values of that parameter.
        precisions: Values of that parameter.
        batches: Sizes, pictures.
        outputs: Sets of tensors: `theia`, `all`, `maps` (all tensors, and what can be decoded
            from them), or names with commas.
        image_hw: Rows and columns of the pictures.
        rounds: At most so many of each case.
        seconds: At most so long for each case.
    """

    backends: tuple[str, ...]
    precisions: tuple[str, ...]
    batches: tuple[int, ...]
    outputs: tuple[str, ...]
    image_hw: tuple[int, int]
    rounds: int
    seconds: float


def run(params: EncoderParams, settings: Settings) -> dict[str, Any]:
    """Measure and return the document.

    Raises:
        TheiaRosError: The model cannot be had, or does not give an output.
    """
    load_before = machine.load()
    baseline = Baseline(params)
    sets = {word: _names(word, params, baseline) for word in settings.outputs}
    frames = make_frames(max(settings.batches), settings.image_hw)
    cases = [
        (word, names, frames[:batch]) for word, names in sets.items() for batch in settings.batches
    ]
    contenders = _open(params, settings)
    table: list[dict[str, Any]] = []
    try:
        _gate(baseline, contenders, cases)
        for word, names, of_case in cases:
            runners: list[Runner] = [baseline]
            runners += [c.runner for c in contenders if c.runner and word not in c.refused]
            title = f'{word}, batch {len(of_case)}'
            samples = time_case(runners, of_case, names, settings.rounds, settings.seconds, title)
            table += rows(samples, BASELINE, len(of_case), word)
        compare_with_single(table, BASELINE)
        entries = _entries(params, baseline, contenders, cases)
    finally:
        for contender in contenders:
            contender.close()
    return {
        'schema': SCHEMA,
        'kind': 'encoder',
        **machine.describe(),
        'load': {'before': load_before, 'after': machine.load()},
        'model': machine.model_name(params.model),
        'settings': asdict(settings),
        'baseline': DESCRIPTION,
        'limits': {
            precision: {'cosine': limit.cosine, 'relative_error': limit.relative_error}
            for precision, limit in LIMITS.items()
        },
        'contenders': entries,
        'rows': table,
    }


Case = tuple[str, list[str], list[Frame]]
"""A set of outputs in a word, their names, and the pictures of the batch."""


def _names(word: str, params: EncoderParams, baseline: Baseline) -> list[str]:
    if word == 'all':
        return list(baseline.tensors)
    if word == 'maps':
        with Encoder(params) as encoder:
            if not encoder.maps:
                raise ParameterError(f'{params.model} gives no maps; leave maps out of --tensors')
            return [*encoder.tensors, *encoder.maps]
    names = word.split(',')
    check_tensors(params.model, names, baseline.tensors)
    return names


def _open(params: EncoderParams, settings: Settings) -> list[Contender]:
    """Open every backend at every precision, but nothing twice under two names."""
    contenders: dict[str, Contender] = {}
    pairs = [(b, p) for b in settings.backends for p in settings.precisions]
    for backend, precision in tqdm(pairs, desc='open', unit='engine', delay=2, leave=False):
        one = open_contender(replace(params, backend=backend, precision=precision))
        if contenders.setdefault(one.name, one) is not one:
            one.close()
    return list(contenders.values())


def _gate(baseline: Baseline, contenders: Sequence[Contender], cases: Sequence[Case]) -> None:
    """Compare everyone with the baseline in every case, before anything is timed."""
    for word, names, frames in tqdm(cases, desc='compare', unit='case', delay=2, leave=False):
        expected = baseline.expected(frames, names)
        for one in contenders:
            if not one.runner or word in one.refused:
                continue
            try:
                reason = check(one, expected, frames, names)
            except EngineError as exc:
                one.drop('failed', str(exc))
                continue
            if reason:
                one.refuse(word, reason)
    words = {word for word, _, _ in cases}
    for one in contenders:
        if words == one.refused.keys():
            one.close()


def _entries(
    params: EncoderParams,
    baseline: Baseline,
    contenders: Sequence[Contender],
    cases: Sequence[Case],
) -> list[dict[str, Any]]:
    """Tell of everyone, with start-up and memory at the largest batch of the first outputs."""
    _, names, frames = max((c for c in cases if c[0] == cases[0][0]), key=lambda c: len(c[2]))

    def measure(of: EncoderParams, *, as_baseline: bool) -> dict[str, float]:
        hw = frames[0].image_hw
        return fresh.measure(
            of, baseline=as_baseline, outputs=names, batch=len(frames), image_hw=hw
        )

    first = Contender(BASELINE, params, device=baseline.device)
    for one in tqdm([first, *contenders], desc='start-up', unit='process', delay=2, leave=False):
        if one is first or one.runner:
            try:
                one.fresh = measure(one.params, as_baseline=one is first)
            except EngineError as exc:
                one.reason = str(exc)
    fields = ('name', 'state', 'reason', 'device', 'open_s', 'errors', 'fresh')
    return [{name: getattr(one, name) for name in fields} for one in (first, *contenders)]
