"""`theia-ros fetch`: bring a model of the catalogue to this machine."""

from __future__ import annotations

import argparse
import sys

from theia_ros.catalog import model_folder
from theia_ros.catalog import MODELS
from theia_ros.errors import ParameterError

HELP = 'Bring a model of the catalogue to this machine.'
EXAMPLES = """example:
  theia-ros fetch demo-dinov2-small"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument('name', help='of a model; theia-ros models lists them')


def run(args: argparse.Namespace) -> int:
    """Fetch the model that is named."""
    if args.name not in MODELS:
        raise ParameterError(f'unknown model {args.name!r}; known: {", ".join(MODELS)}')
    from theia_ros.demo import model

    if args.name != model.NAME:
        raise ParameterError(
            f'{args.name} cannot be fetched yet; put its folder anywhere and name that'
        )
    model.prepare(model_folder(args.name), report=lambda line: print(line, file=sys.stderr))
    return 0
