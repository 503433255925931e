"""`theia-ros doctor`: what is wrong with this machine, and the command that cures it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TextIO

from theia_ros.commands.stages import Stages
from theia_ros.errors import ParameterError
from theia_ros.params import choices

HELP = 'Say what is wrong with this machine, and the command that cures it.'
EXAMPLES = """examples:
  theia-ros doctor
  theia-ros doctor --model theia-tiny-patch16-224-cddsv --backend tensorrt --precision fp16
  theia-ros doctor --params my_robot.yaml --json doctor.json
  theia-ros doctor --no-engine       seconds; builds and opens nothing

exit status: 0 the encoder node would run, 1 it would not, 2 a mistake in the arguments"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument('--model', help='name of a model, or its folder (default: of the node)')
    parser.add_argument('--backend', choices=choices('backend'))
    parser.add_argument('--precision', choices=choices('precision'))
    parser.add_argument('--device', help='auto, cpu, cuda or cuda:N')
    parser.add_argument(
        '--params', type=Path, metavar='FILE', help='parameter file of the node; it is checked too'
    )
    parser.add_argument(
        '--no-engine',
        action='store_true',
        help='do not open the engine, which may have to be built, nor compare it',
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write all findings there, too')


def run(args: argparse.Namespace) -> int:
    """Look at everything and tell it line by line; 1 if the node would not run."""
    if args.params and not args.params.is_file():
        raise ParameterError(f'--params {args.params}: no such file')
    if args.json and not args.json.absolute().parent.is_dir():
        raise ParameterError(f'--json {args.json}: its folder does not exist')

    from theia_ros.doctor import report
    from theia_ros.doctor.examine import examine
    from theia_ros.doctor.facts import Facts
    from theia_ros.doctor.facts import Request
    from theia_ros.doctor.finding import Finding
    from theia_ros.doctor.finding import Level
    from theia_ros.doctor.finding import worst

    named = ('model', 'backend', 'precision', 'device')
    given = {name: getattr(args, name) for name in named if getattr(args, name) is not None}
    found: list[tuple[str, Finding]] = []
    out = sys.stdout
    coloured = out.isatty() and 'NO_COLOR' not in os.environ

    with Stages(delay_s=1) as stages:

        def tell(group: str, finding: Finding) -> None:
            stages.clear()
            if not found or found[-1][0] != group:
                _print(out, group)
            found.append((group, finding))
            for line in report.lines(finding, coloured=coloured):
                _print(out, line)

        examine(Facts(Request(given, args.params, not args.no_engine), report=stages), tell)
    findings = [finding for _, finding in found]
    _print(out, '')
    _print(out, report.verdict(findings))
    if args.json:
        try:
            args.json.write_text(report.document(found))
        except OSError as exc:
            raise ParameterError(f'--json {args.json} cannot be written: {exc.strerror}') from exc
    return int(worst(findings) is Level.ERROR)


def _print(out: TextIO, line: str) -> None:
    """Write a line, whatever characters the terminal has, and also if nobody reads any more."""
    encoding = out.encoding or 'ascii'
    text = line.encode(encoding, 'backslashreplace').decode(encoding)
    try:
        print(text, file=out, flush=True)
    except BrokenPipeError:
        # Python would complain of it once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
