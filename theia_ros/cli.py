"""The command `theia-ros`: one verb for each module of `theia_ros.commands`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import theia_ros
from theia_ros.errors import TheiaRosError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` names and return the exit status.

    A user's mistake gives status 2 and one line on the error stream.
    """
    if sys.version_info < (3, 9):  # noqa: UP036 (which could not even read the commands)
        found = '.'.join(map(str, sys.version_info[:3]))
        sys.stderr.write(f'theia-ros: expected Python 3.10 or newer, found {found}\n')
        return 2
    from theia_ros.commands import COMMANDS

    parser = argparse.ArgumentParser(prog='theia-ros', description='Theia features for robots.')
    parser.add_argument('--version', action='version', version=theia_ros.__version__)
    verbs = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for name, command in COMMANDS.items():
        verb = verbs.add_parser(
            name,
            help=command.HELP,
            description=command.HELP,
            epilog=command.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(verb)
    args = parser.parse_args(argv)
    try:
        return COMMANDS[args.command].run(args)
    except TheiaRosError as exc:
        print(f'theia-ros {args.command}: {exc}', file=sys.stderr)
        return 2
    except MemoryError as exc:
        why = f': {exc}' if str(exc) else ''
        print(f'theia-ros {args.command}: the memory is full{why}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f'theia-ros {args.command}: stopped', file=sys.stderr)
        return 130


if __name__ == '__main__':
    sys.exit(main())
