"""Clone an expert in the simulator, from frozen features and from raw pixels, and compare.

record    the expert takes a cylinder from the table to the tray, in scenes that all look
          different; the pictures of the hand's camera are encoded once, as the node encodes them
train     the same head on features and on pixels, and a linear one on features; learning rates
          are chosen on validation, and the best of each run is kept
evaluate  how far single actions are from the expert's, in episodes that began where training
          never does
play      whole episodes in the simulator, from the same places
report    results.json, table.md and filmstrip.jpg; without play, a table without successes

What is done already is not done again, so a run that was cut goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import torch
from arguments import whole

from clone import report
from clone.episodes import Task
from clone.heads import HEADS
from clone.run import Run
from clone.run import Settings
from clone.run import write_json
from clone.task import Layout
from clone.task import PickTask
from theia_ros.errors import TheiaRosError

STEPS = ('record', 'train', 'evaluate', 'play', 'report')
EXAMPLES = """examples:
  scripts/clone_policy --output clone                                  # everything
  scripts/clone_policy --output try --episodes 10 --validation 3 --held-out 3 --updates 50
  scripts/clone_policy --output clone record train evaluate report     # without playing
  scripts/clone_policy --output clone report --results docs/results/clone-policy-cpu.json

needs the simulator in the environment of scripts/setup:
  . scripts/env.sh; pip install mujoco==3.3.7; pip install --no-deps robosuite==1.5.2
  and on Debian or Ubuntu: apt install libegl1 libgl1 libgl1-mesa-dri
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='scripts/clone_policy',
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    add = parser.add_argument
    add('steps', nargs='*', metavar='STEP', help=f'of {", ".join(STEPS)}; all of them by default')
    add('--output', type=Path, required=True, metavar='DIR', help='folder, new or to go on in')
    add('--episodes', type=whole, default=80, help='of training (%(default)s)')
    add('--validation', type=whole, default=12, help='episodes to choose by (%(default)s)')
    add('--held-out', type=whole, default=20, help='starts to evaluate on (%(default)s)')
    add('--others', type=int, choices=range(5), default=2, help='other things (%(default)s)')
    add('--seeds', type=whole, default=3, help='runs of each head (%(default)s)')
    add('--updates', type=whole, default=600, help='of each run (%(default)s)')
    add('--batch', type=whole, default=64, help='decisions in an update (%(default)s)')
    add('--rates', type=float, nargs='+', default=[1e-3, 3e-3], help='learning rates to try')
    add('--model', default='demo-dinov2-small', help='that gives the features (%(default)s)')
    add('--backend', default='auto', help='as the parameter of the node (%(default)s)')
    add('--precision', default='auto', help='as the parameter of the node (%(default)s)')
    add(
        '--heads',
        nargs='+',
        choices=HEADS,
        default=[*HEADS],
        help='kinds to train, evaluate and report now (all)',
    )
    add('--threads', type=whole, help='of torch; 1 is best where others compute, too')
    add('--results', type=Path, metavar='FILE', help='of the report; DIR/results.json')
    add('--picture', type=Path, metavar='FILE', help='of the report; DIR/filmstrip.jpg')
    return parser


def main(argv: list[str] | None = None, make: Callable[[Layout], Task] = PickTask) -> int:
    """Run the command line; return the exit status."""
    args = _parser().parse_args(argv)
    unknown = [step for step in args.steps if step not in STEPS]
    if unknown:
        return _fail(f'unknown step {unknown[0]!r}; expected {", ".join(STEPS)}')
    if args.threads:
        torch.set_num_threads(args.threads)
    names = [f.name for f in fields(Settings)]
    settings = Settings(
        **{name: getattr(args, name) for name in names} | {'rates': (*args.rates,)}
    )
    try:
        args.output.mkdir(parents=True, exist_ok=True)
        run = Run(args.output, settings, args.heads, make)
        for step in STEPS:
            if args.steps and step not in args.steps:
                continue
            if step == 'report':
                _report(run, args)
            else:
                getattr(run, step)()
    except (TheiaRosError, OSError) as exc:
        return _fail(str(exc))
    except KeyboardInterrupt:
        return 130
    return 0


def _report(run: Run, args: argparse.Namespace) -> None:
    results = run.results()
    write_json(args.results or args.output / 'results.json', results)
    table = report.table(results)
    (args.output / 'table.md').write_text(table)
    picture = args.picture or args.output / 'filmstrip.jpg'
    report.filmstrip(run.episodes, run.evaluations, results, picture)
    print(table, end='')


def _fail(message: str) -> int:
    print(f'clone_policy: {message}', file=sys.stderr)
    return 2


if __name__ == '__main__':
    sys.exit(main())
