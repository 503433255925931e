"""`theia-ros distil`: from one's own pictures and several teachers to a model for the node."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import fields
from pathlib import Path

from theia_ros.catalog import cache_folder
from theia_ros.catalog import TARGETS
from theia_ros.commands.arguments import parts_of
from theia_ros.distil.config import DistilConfig
from theia_ros.errors import ParameterError

HELP = "Train a model on one's own pictures: a small encoder that imitates several teachers."
EXAMPLES = """examples:
  theia-ros distil --data photos/ --teachers dinov2_small --output runs/mine
  theia-ros distil --data bags/ --rate 2 --teachers dinov2,clip,vit --student small \\
      --epochs 20 --batch-size 64 --precision bf16 --schedule cosine --output runs/robot
  theia-ros distil --data clips/ --held-out-data other_clips/ --teachers depth,classes \\
      --init demo-dinov2-small --train heads --output runs/heads

The same command again goes on where the last one ended, also after a kill.
runs/mine/model is the model: ros2 launch theia_ros encoder.launch.py model:=runs/mine/model
Beside it lie losses.csv, losses.png, and evaluation.md: how good it is on held-out pictures.

teachers: dinov2_small (fetched with pip), vit dinov2 clip sam depth_anything (fetched from the
Hugging Face hub, or NAME=FOLDER), and depth classes, the truth of a simulator: NAME_truth.npz
beside a video NAME.mp4, as scripts/render_clip.py writes it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add = parser.add_argument
    add(
        '--data',
        required=True,
        nargs='+',
        type=Path,
        metavar='PATH',
        help='image files, videos, bags, or folders of them, to learn from',
    )
    add(
        '--teachers',
        required=True,
        metavar='NAME,...',
        help=f'of {",".join(TARGETS)}; NAME=FOLDER takes the weights from there',
    )
    add('--output', required=True, type=Path, metavar='FOLDER', help='of this run')
    add(
        '--held-out-data',
        nargs='+',
        type=Path,
        default=[],
        metavar='PATH',
        help='judge by these, and not by a part of --data',
    )
    add(
        '--rate',
        type=float,
        default=2.0,
        metavar='HZ',
        help='most pictures of a second of a video or a bag (default: %(default)s)',
    )
    add('--topics', default='', metavar='TOPIC,...', help='of bags (default: all pictures)')
    add(
        '--cache',
        type=Path,
        metavar='FOLDER',
        help='of pictures and targets, which serve many runs (default: distil/ in the cache)',
    )
    add(
        '--save-every',
        type=int,
        default=200,
        metavar='STEPS',
        help='between two checkpoints; what a kill may cost (default: %(default)s)',
    )
    add('--device', default='auto', help='auto, cpu, cuda or cuda:N (default: %(default)s)')
    for one in fields(DistilConfig):
        if one.name != 'teachers':
            doc, choices = one.metadata['doc'], one.metadata['choices']
            shown = '' if one.default == '' else ' (default: %(default)s)'
            add(
                '--' + one.name.replace('_', '-'),
                type=type(one.default),
                default=one.default,
                choices=choices or None,
                metavar=None if choices else 'MODEL' if one.default == '' else 'N',
                help=doc + shown,
            )


def run(args: argparse.Namespace) -> int:
    """Make the model and tell how good it is."""
    pairs = [part.partition('=') for part in parts_of(args.teachers)]
    names = tuple(name for name, _, _ in pairs)
    settings = {
        f.name: getattr(args, f.name) for f in fields(DistilConfig) if f.name != 'teachers'
    }
    config = DistilConfig(teachers=names, **settings)
    if not 0 < args.rate < 1e4:
        raise ParameterError(f'--rate is {args.rate}; use more than 0')
    if args.save_every < 1:
        raise ParameterError(f'--save-every is {args.save_every}; use 1 or more')

    # Before torch multiplies for the first time: cuBLAS then gives the same bits every time.
    os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')

    from theia_ros.commands.bars import Bars
    from theia_ros.distil.distil import distil
    from theia_ros.distil.distil import EVALUATION
    from theia_ros.distil.distil import Job
    from theia_ros.distil.evaluate import as_markdown
    from theia_ros.distil.sources import Reading
    from theia_ros.engine.torch_engine import find_device

    job = Job(
        learned=args.data,
        held_out=args.held_out_data,
        reading=Reading(args.rate, parts_of(args.topics)),
        folders={name: folder for name, _, folder in pairs if folder},
        cache=args.cache or cache_folder() / 'distil',
        output=args.output,
        device=find_device(args.device),
        save_every=args.save_every,
    )
    with Bars() as progress:
        outcome = distil(config, job, progress)
    lessons = outcome.lessons
    for reason, count in lessons.data.skipped.items():
        print(f'skipped {count} ({reason}), which could not be read', file=sys.stderr)
    if not outcome.plotted:
        print("no losses.png: pip install 'theia_ros[distil]' brings matplotlib", file=sys.stderr)
    print(f'{outcome.run.model}: learned from {len(lessons.learned)} pictures, {names}')
    if outcome.table:
        print(f'on {len(lessons.held_out)} held-out pictures ({EVALUATION}.md):')
        print(as_markdown(outcome.table), end='')
    return 0
