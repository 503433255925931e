"""The model: its files, its licence, and whether it loads strictly."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from theia_ros.catalog import find_model
from theia_ros.catalog import model_folder
from theia_ros.catalog import MODELS
from theia_ros.catalog import WEIGHTS_FILE
from theia_ros.doctor.facts import Facts
from theia_ros.doctor.finding import error
from theia_ros.doctor.finding import Finding
from theia_ros.doctor.finding import ok
from theia_ros.doctor.finding import warning
from theia_ros.errors import TheiaRosError
from theia_ros.hub.sources import Asset
from theia_ros.hub.sources import decoding_assets
from theia_ros.hub.sources import DEMO
from theia_ros.hub.sources import model_assets
from theia_ros.hub.store import check
from theia_ros.hub.store import read_records
from theia_ros.hub.store import State

# Reading whole files shows a bar.
_COMPARED = 'checksums' if find_spec('tqdm') else 'sizes'


def files(facts: Facts) -> Iterator[Finding]:
    """Compare the files of the model with the checksums of the day they were fetched."""
    model = facts.params.model
    if not is_needed(facts):
        yield ok('model', f'{model}, of which backend fake reads no file')
        return
    try:
        folder = find_model(model)
    except TheiaRosError as exc:
        cure = _fetch(model) if model in MODELS else 'theia-ros models'
        yield error('model', model, str(exc), cure)
        return
    if model not in MODELS:
        yield ok('model', f'{folder}, a folder of yours: there is no checksum to compare')
        return
    yield from _compare('model', model, model_assets(model), folder)


def _fetch(model: str, options: str = '') -> str:
    """Return what brings a model of the catalogue."""
    if MODELS[model].shipped:
        return 'install theia_ros again, from a whole copy'
    return f'theia-ros fetch {model}{options}' + (' --accept-licence' if model != DEMO else '')


def _compare(name: str, model: str, assets: tuple[Asset, ...], folder: Path) -> Iterator[Finding]:
    """Tell the state of files that were fetched, or came with this package."""
    again = _fetch(model, ' --force')
    states = set()
    for asset in assets:
        state, wrong = _look(asset)
        if state is State.ABSENT:
            wrong = 'it is missing'
        if wrong:
            yield error(name, str(asset.path), wrong, again)
            return
        states.add(state)
    if State.UNKNOWN in states:
        yield warning(name, str(folder), 'it was not fetched: no checksum is known', again)
    else:
        yield ok(name, f'{model} in {folder}, {_COMPARED} are right')


def _look(asset: Asset) -> tuple[State, str]:
    """Return what is here of a file, and what is wrong with what is here."""
    try:
        finding = check(asset, hashed=_COMPARED == 'checksums')
    except TheiaRosError as exc:
        return State.DAMAGED, str(exc)
    damaged = finding.state is State.DAMAGED
    return finding.state, f'damaged: {finding.reason}' if damaged else ''


def load(facts: Facts) -> Iterator[Finding]:
    """Load the model strictly: exactly the tensors that its configuration asks for."""
    if facts.torch.failure or not (is_needed(facts) and is_here(facts.params.model)):
        return  # said already
    if failure := facts.model.failure:
        model = facts.params.model
        cures = [_fetch(model, ' --force')] if model in MODELS else []
        yield error('weights', model, failure, *cures, 'see models/README.md')
        return
    answer = facts.model.answer
    heads = ', '.join(answer['teachers']) or 'none'
    maps = ', '.join(answer['maps']) or 'none'
    yield ok(
        'weights',
        f'{answer["tensors"]} tensors, {answer["numbers"] / 1e6:.1f} M numbers; heads: {heads}; '
        f'maps: {maps}',
    )


def licence(facts: Facts) -> Iterator[Finding]:
    """Show under which licence the weights are used."""
    model = facts.params.model
    if not is_here(model):
        return  # said already
    if model not in MODELS:
        yield ok('licence', 'of your own weights: not known here')
        return
    record = read_records(model_folder(model)).get(WEIGHTS_FILE)
    agreed = ', accepted when it was fetched' if record and record.licence_accepted else ''
    yield ok('licence', f'{MODELS[model].licence}{agreed}')


def parts(facts: Facts) -> Iterator[Finding]:
    """Look for what decoding the model's heads needs beside it."""
    model = facts.params.model
    if model not in MODELS or not decoding_assets(model) or not is_here(model):
        return  # `load` tells what a folder has
    if not is_needed(facts):
        return  # nothing of it is read
    missing = []
    for asset in decoding_assets(model):
        state, wrong = _look(asset)
        if wrong:
            yield error('for maps', str(asset.path), wrong, _fetch(model, ' --force'))
            return
        if state is State.ABSENT:
            missing.append(asset.path.name)
    if missing:
        yield warning(
            'for maps',
            f'{len(missing)} files are missing, such as {missing[0]}',
            'features are published, depth and segmentation are not',
            _fetch(model),
        )
    else:
        yield ok('for maps', f'decoders and statistics are here, {_COMPARED} are right')


def is_needed(facts: Facts) -> bool:
    """Return whether the backend reads files of the model; the fake reads those of none."""
    return facts.params.backend != 'fake' or facts.params.model not in MODELS


def is_here(model: str) -> bool:
    """Return whether a model, by name or folder, is on this machine."""
    try:
        find_model(model)
    except TheiaRosError:
        return False
    return True
