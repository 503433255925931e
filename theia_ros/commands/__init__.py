"""The verbs of `theia-ros`. Each module has HELP, EXAMPLES, `add_arguments` and `run`.

Heavy imports stand inside `run`, so that `--help` is quick and works without torch.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Protocol

from theia_ros.commands import bag
from theia_ros.commands import bench
from theia_ros.commands import build_engine
from theia_ros.commands import distil
from theia_ros.commands import doctor
from theia_ros.commands import encode
from theia_ros.commands import fetch
from theia_ros.commands import models
from theia_ros.commands import view


class Command(Protocol):
    """What a module of this room has.

    Attributes:
        HELP: What the verb does, in one line.
        EXAMPLES: Shown below the arguments.
    """

    HELP: str
    EXAMPLES: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the verb's arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it and return the exit status; a `TheiaRosError` is reported by the caller."""


COMMANDS: Mapping[str, Command] = {
    'encode': encode,
    'bag': bag,
    'build-engine': build_engine,
    'bench': bench,
    'models': models,
    'fetch': fetch,
    'doctor': doctor,
    'view': view,
    'distil': distil,
}
