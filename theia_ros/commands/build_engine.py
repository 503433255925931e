"""`theia-ros build-engine`: compile what a start would compile, ahead of it."""

from __future__ import annotations

import argparse
import time

from theia_ros.catalog import BACKBONE
from theia_ros.catalog import check_tensors
from theia_ros.catalog import TARGETS
from theia_ros.commands.arguments import tensors_of
from theia_ros.commands.stages import Stages
from theia_ros.params import choices
from theia_ros.params import EncoderParams

HELP = 'Build the engines of a model and store them, so that the next start is quick.'
EXAMPLES = """examples:
  theia-ros build-engine --model demo-dinov2-small
  theia-ros build-engine --model ~/my_theia --backend tensorrt --precision fp16 --max-batch 4
  theia-ros build-engine --model ~/my_theia --tensors theia,clip"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument('--model', required=True, help='name of a model, or its folder')
    parser.add_argument('--backend', default='auto', choices=choices('backend'))
    parser.add_argument('--precision', default='auto', choices=choices('precision'))
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    parser.add_argument(
        '--max-batch',
        type=int,
        default=EncoderParams.max_batch,
        help='as the parameter max_batch (default: %(default)s)',
    )
    parser.add_argument(
        '--engine-cache',
        default=EncoderParams.engine_cache,
        metavar='FOLDER',
        help="as the parameter engine_cache (default: in the user's cache)",
    )
    parser.add_argument(
        '--tensors',
        default='',
        help=f'comma-separated: {",".join((BACKBONE, *TARGETS))} (default: all of the model)',
    )


def run(args: argparse.Namespace) -> int:
    """Build what is not stored yet."""
    params = EncoderParams(
        model=args.model,
        backend=args.backend,
        precision=args.precision,
        device=args.device,
        max_batch=args.max_batch,
        engine_cache=args.engine_cache,
    )
    from theia_ros.engine import build
    from theia_ros.engine import choose
    from theia_ros.engine.cache import folder_of
    from theia_ros.engine.source import Source

    choice = choose(params)
    known = Source(params.model).config.tensors
    tensors = tensors_of(args.tensors) if args.tensors else known
    check_tensors(args.model, tensors, known)
    why = f' ({choice.why})' if choice.why else ''
    started = time.monotonic()
    with Stages(delay_s=0) as report:
        built = build(params, tensors, report)
    if not built:
        print(f'backend {choice.backend}{why} builds no engines; nothing to do')
        return 0
    print(
        f'{folder_of(params)}: {", ".join(tensors)} for backend {choice.backend}{why}, '
        f'{time.monotonic() - started:.1f} s'
    )
    return 0
