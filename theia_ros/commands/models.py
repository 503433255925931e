"""`theia-ros models`: what can be asked for by name, and what is here."""

from __future__ import annotations

import argparse

from theia_ros.catalog import cache_folder
from theia_ros.catalog import model_folder
from theia_ros.catalog import MODELS

HELP = 'List the models that can be asked for by name, and which of them are here.'
EXAMPLES = """example:
  theia-ros models"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments: it has none."""


def run(args: argparse.Namespace) -> int:
    """Print one line for each model."""
    del args
    print(f'models in {cache_folder() / "models"}')
    for model in MODELS.values():
        here = (model_folder(model.name) / 'model.safetensors').is_file()
        print(
            f'  {model.name:32} {"here" if here else "not fetched":12}'
            f'{model.parameters / 1e6:6.1f} M weights  '
            f'{", ".join(model.teachers) or "backbone only"}  [{model.licence}]'
        )
    return 0
