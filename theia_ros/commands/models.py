"""`theia-ros models`: what can be asked for by name, and what is here."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from theia_ros.catalog import cache_folder
from theia_ros.catalog import Model
from theia_ros.catalog import MODELS
from theia_ros.catalog import TEACHERS
from theia_ros.hub.download import partial_files
from theia_ros.hub.sources import Asset
from theia_ros.hub.sources import decoder_asset
from theia_ros.hub.sources import DECODER_SOURCES
from theia_ros.hub.sources import DEMO
from theia_ros.hub.sources import model_assets
from theia_ros.hub.sources import statistics_assets
from theia_ros.hub.store import check
from theia_ros.hub.store import State

HELP = 'List the models that can be asked for by name, and what is here of each.'
EXAMPLES = """examples:
  theia-ros models            sizes are compared
  theia-ros models --verify   checksums are compared; status 1 if something is damaged"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument('--verify', action='store_true', help='compare checksums, not only sizes')


def run(args: argparse.Namespace) -> int:
    """Print a table of models, and what is here for decoding."""
    damages: list[str] = []

    def state(assets: Sequence[Asset]) -> str:
        return _state(assets, hashed=args.verify, damages=damages)

    rows = [('MODEL', 'WEIGHTS', 'SIZE', 'HERE', 'HEADS', 'LICENCE')]
    rows += [
        (
            model.name,
            f'{model.parameters / 1e6:.1f} M',
            size_text(model),
            state(model_assets(model.name)),
            heads_text(model),
            model.licence,
        )
        for model in MODELS.values()
    ]
    _print_table(rows)
    print()
    parts = [('FOR DECODING', 'DECODER', 'STATISTICS')]
    parts += [
        (
            teacher,
            state((decoder_asset(teacher),)) if teacher in DECODER_SOURCES else 'needs none',
            state(statistics_assets(teacher)),
        )
        for teacher in TEACHERS
    ]
    _print_table(parts)
    print()
    print(f'cache: {cache_folder()}')
    for reason in damages:
        print(f'damaged: {reason}')
    return 1 if damages else 0


def size_text(model: Model) -> str:
    """Return the size of a model's weights on disk."""
    return f'{model.size_mb:.1f} MB'


def heads_text(model: Model) -> str:
    """Return the heads of a model, in words."""
    return ', '.join(model.teachers) or 'none: backbone only'


def markdown_table() -> str:
    """Return the table of `models/README.md`."""
    rows = [
        '| name | student | weights | size | heads | source | licence | sha256, first 12 |',
        '|---|---|---|---|---|---|---|---|',
    ]
    for model in MODELS.values():
        source = model.source
        if model.shipped:
            source = f'[{source}]({model.name}/README.md)'
        elif model.name != DEMO:
            source = f'[{source}](https://huggingface.co/{source})'
        rows.append(
            f'| `{model.name}` | {model.student} | {model.parameters / 1e6:.1f} M '
            f'| {size_text(model)} | {heads_text(model)} | {source} | {model.licence} '
            f'| {model.sha256[:12] if model.sha256 else "not known"} |'
        )
    return '\n'.join(rows) + '\n'


def _state(assets: Sequence[Asset], *, hashed: bool, damages: list[str]) -> str:
    """Return one word for several files: that of the worst one."""
    findings = [check(asset, hashed=hashed) for asset in assets]
    damages += [finding.reason for finding in findings if finding.reason]
    states = [finding.state for finding in findings]
    if State.DAMAGED in states:
        return 'damaged'
    if State.ABSENT in states:
        kept = sum(part.stat().st_size for asset in assets for part in partial_files(asset.path))
        return f'{kept / 1e6:.1f} MB so far' if kept else 'no'
    if State.UNKNOWN in states:
        return 'unchecked'
    return 'intact' if hashed else 'yes'


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print(
            '  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
