"""`theia-ros fetch`: bring models of the catalogue to this machine."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from theia_ros.catalog import cache_folder
from theia_ros.catalog import find_model
from theia_ros.catalog import Licence
from theia_ros.catalog import model_folder
from theia_ros.catalog import MODELS
from theia_ros.catalog import WEIGHTS_FILE
from theia_ros.errors import ParameterError
from theia_ros.errors import WeightsError
from theia_ros.hub import fetch as hub
from theia_ros.hub import store
from theia_ros.hub.sources import Asset
from theia_ros.hub.sources import decoding_assets
from theia_ros.hub.sources import DEMO
from theia_ros.hub.sources import hub_url
from theia_ros.hub.sources import model_assets
from theia_ros.hub.sources import statistics_assets
from theia_ros.hub.sources import STATISTICS_REPO
from theia_ros.hub.store import State

HELP = 'Bring models of the catalogue to this machine, or check those that are here.'
EXAMPLES = """examples:
  theia-ros fetch demo-dinov2-small
  theia-ros fetch theia-tiny-patch16-224-cddsv                    shows the licence, and stops
  theia-ros fetch theia-tiny-patch16-224-cddsv --accept-licence   downloads; again: checks
  theia-ros fetch theia-tiny-patch16-224-cddsv --accept-licence --force
  theia-ros fetch theia-base-patch16-224-cdiv --accept-licence --no-decoders

A download that was cut goes on where it ended when the same command is given again.
What was fetched once is used without a network.

environment:
  THEIA_ROS_CACHE      folder for what is fetched (default: ~/.cache/theia_ros)
  HF_ENDPOINT          a mirror of https://huggingface.co
  HF_TOKEN             token for it, if it wants one
  HF_HUB_OFFLINE       1: check only, never download
  THEIA_ROS_GITHUB     a mirror of https://raw.githubusercontent.com, for the statistics
  https_proxy          proxy; no_proxy, http_proxy and SSL_CERT_FILE are honoured likewise"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        'names', nargs='+', metavar='NAME', help='of a model; theia-ros models lists them'
    )
    parser.add_argument(
        '--accept-licence',
        action='store_true',
        help='agree to the licence that is shown, of the models named',
    )
    decoders = parser.add_mutually_exclusive_group()
    decoders.add_argument(
        '--with-decoders',
        dest='decoders',
        action='store_true',
        default=True,
        help="also what decoding the model's heads needs: the teachers' decoders, 16 MB at most, "
        'and feature statistics (default)',
    )
    decoders.add_argument(
        '--no-decoders', dest='decoders', action='store_false', help='the model alone'
    )
    parser.add_argument(
        '--statistics',
        type=Path,
        metavar='FOLDER',
        help='take the feature statistics from here instead of downloading them',
    )
    parser.add_argument(
        '--force', action='store_true', help='download anew what is here, damaged or not'
    )


def run(args: argparse.Namespace) -> int:
    """Fetch the models that are named; what is here already is checked."""
    for name in args.names:
        if name not in MODELS:
            raise ParameterError(f'unknown model {name!r}; known: {", ".join(MODELS)}')
    if args.statistics and not args.statistics.is_dir():
        raise ParameterError(f'--statistics {args.statistics}: no such folder')
    try:
        for name in args.names:
            if MODELS[name].shipped:
                _check_shipped(name)
            elif name == DEMO:
                from theia_ros.demo import model

                model.prepare(model_folder(name), report=lambda line: print(line, file=sys.stderr))
            else:
                _fetch(name, args)
    except KeyboardInterrupt:
        kept = sum(part.stat().st_size for part in cache_folder().rglob('*.part'))
        print(
            f'theia-ros fetch: stopped; {kept / 1e6:.1f} MB of an unfinished file and all '
            f'finished ones are kept in {cache_folder()}, and the same command goes on from there',
            file=sys.stderr,
        )
        return 130
    return 0


def _fetch(name: str, args: argparse.Namespace) -> None:
    assets = list(model_assets(name))
    copied: list[Asset] = []
    if args.decoders:
        assets += decoding_assets(name)
    if args.statistics:
        assets = [asset for asset in assets if asset.repo != STATISTICS_REPO]
        copied = [one for teacher in MODELS[name].teachers for one in statistics_assets(teacher)]
    with store.locked(_report):
        states = {asset: State.ABSENT if args.force else _state(asset, name) for asset in assets}
        wanted = [asset for asset, state in states.items() if state is State.ABSENT]
        _show_licences(name, wanted, accepted=args.accept_licence)
        if wanted and _offline():
            raise WeightsError(f'{wanted[0].place} is not here, and HF_HUB_OFFLINE is set')
        for asset in copied:
            hub.copy(asset, args.statistics)
        for asset in wanted:
            record = hub.fetch(asset, accepted=args.accept_licence, report=_report)
            _tell(name, asset, record)
    word = 'in part unchecked' if State.UNKNOWN in states.values() else 'intact'
    parts = len(assets) + len(copied) - 2
    extra = f', with {parts} files for decoding' if parts else ''
    print(f'{name}: {word} in {model_folder(name)}{extra}')


def _check_shipped(name: str) -> None:
    """Tell of a model that comes with this package, and refuse a damaged one."""
    folder = find_model(name)
    for asset in model_assets(name):
        finding = store.check(asset, hashed=True)
        if finding.state is not State.INTACT:
            raise WeightsError(
                f'{finding.reason}; it comes with theia_ros: take a whole copy, and install it '
                'again'
            )
    print(f'{name}: comes with theia_ros, so there is nothing to fetch; intact in {folder}')


def _state(asset: Asset, name: str) -> State:
    """Return what is here of a file, and refuse a damaged one."""
    finding = store.check(asset, hashed=True)
    if finding.state is State.DAMAGED:
        raise WeightsError(
            f'{finding.reason}; fetch it anew with: '
            f'theia-ros fetch {name} --accept-licence --force'
        )
    if finding.state is State.UNKNOWN:
        _report(f'{asset.path} was not fetched by this command; it is kept, and not checked')
    return finding.state


_WORKS = {
    'models': 'the weights',
    'statistics': 'the feature statistics',
    'decoders': "the teachers' decoders",
}
"""What the folders of the cache hold."""


def _show_licences(name: str, wanted: Iterable[Asset], *, accepted: bool) -> None:
    """Show the licences of what will be downloaded, and stop if one needs to be accepted."""
    works: dict[Licence, dict[str, None]] = {}  # a dict for a set that keeps its order
    for asset in wanted:
        works.setdefault(asset.licence, {})[_WORKS[asset.place.split('/')[0]]] = None
    for licence, names in works.items():
        print(f'{name}: licence of {", ".join(names)}: {licence.name}')
        print(f'  {licence.terms}; {licence.url}')
    if not accepted and any(licence.must_accept for licence in works):
        raise ParameterError(
            f'the licence of {name} (non-commercial research only) is not accepted; '
            'read it, and if you agree, add --accept-licence'
        )


def _tell(name: str, asset: Asset, record: store.Record) -> None:
    """Report a file that came, and what is unusual about it."""
    _report(f'{asset.place}: {record.size / 1e6:.1f} MB, sha256 {record.sha256}')
    published = MODELS[name].sha256 if asset.file == WEIGHTS_FILE and not asset.tensors else None
    if published and published != record.sha256:
        _report(
            f'{asset.place}: note that the file published in 2024 has sha256 {published}; '
            f'{hub_url()} offers other weights now'
        )


def _offline() -> bool:
    return os.environ.get('HF_HUB_OFFLINE', '').upper() in ('1', 'ON', 'YES', 'TRUE')


def _report(line: str) -> None:
    """Print a line on the way; errors alone go to the error stream."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        tqdm.write(line, file=sys.stdout)  # above the bar, if there is one
    else:
        print(line, flush=True)
