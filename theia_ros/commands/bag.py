"""`theia-ros bag`: a recording in, the same with features out."""

from __future__ import annotations

import argparse
import math
import re
import sys
from pathlib import Path
from typing import Any

from theia_ros.catalog import BACKBONE
from theia_ros.catalog import TARGETS
from theia_ros.commands.arguments import parts_of
from theia_ros.commands.arguments import tensors_of
from theia_ros.commands.stages import Stages
from theia_ros.errors import ParameterError
from theia_ros.params import choices
from theia_ros.params import EncoderParams
from theia_ros.params import NodeParams

HELP = 'Encode the pictures of a rosbag2 recording: a bag with features, or shards of arrays.'
EXAMPLES = """examples:
  theia-ros bag pick_cup pick_cup_features --model demo-dinov2-small
  theia-ros bag pick_cup out --topics /front/image_raw,/wrist/image_raw --cameras front,wrist
  theia-ros bag pick_cup out --reduce cls --dtype float16 --without-images
  theia-ros bag pick_cup shards --format safetensors --tensors theia,clip --max-rate-hz 10

The defaults are those of the node, which on the same machine gives the same features, bit for bit
if it encodes one picture at a time. The digest that is printed is then the one on /theia/info;
elsewhere, give that one as --expect, and options that differ are named. See docs/bags.md.
A run that was cut off goes on when the same command is given again."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        'bag', type=Path, metavar='IN', help='folder of a recording, or its .mcap or .db3 file'
    )
    parser.add_argument('out', type=Path, metavar='OUT', help='folder to make')
    features = parser.add_argument_group('features, as with the node and theia-ros encode')
    features.add_argument(
        '--model', default=_default('model'), help='name or folder (default: %(default)s)'
    )
    features.add_argument(
        '--tensors',
        default=BACKBONE,
        help=f'comma-separated: {",".join((BACKBONE, *TARGETS))} (default: %(default)s)',
    )
    features.add_argument(
        '--reduce',
        default=_default('reduction'),
        choices=choices('reduction'),
        help=f'of the tokens of {BACKBONE} (default: %(default)s: all patches)',
    )
    features.add_argument(
        '--dtype',
        default=_default('feature_dtype'),
        choices=choices('feature_dtype'),
        help='number format, as feature_dtype of the node (default: %(default)s)',
    )
    for name, meaning in (
        ('backend', 'what runs the model (default: %(default)s, as the node)'),
        ('precision', 'arithmetic of the engine (default: %(default)s, as the node)'),
        ('preprocessing', 'of the pictures (default: %(default)s)'),
    ):
        features.add_argument(
            f'--{name}', default=_default(name), choices=choices(name), help=meaning
        )
    features.add_argument('--device', default=_default('device'), help='auto, cpu, cuda or cuda:N')
    features.add_argument(
        '--expect',
        metavar='DIGEST',
        help='refuse at once if the features would not be those of this digest',
    )
    features.add_argument(
        '--batch',
        '--batch-size',
        type=int,
        metavar='N',
        help='pictures of one pass (default: 1 on a CPU, where more gain little, else '
        '--max-batch); halved when the device cannot take as many',
    )
    features.add_argument(
        '--max-batch',
        type=int,
        default=_default('max_batch'),
        metavar='N',
        help='that engines are built for, as with the node (default: %(default)s)',
    )
    pictures = parser.add_argument_group('pictures')
    pictures.add_argument(
        '--topics',
        metavar='T,…',
        help='of the cameras (default: all of type Image and CompressedImage)',
    )
    pictures.add_argument(
        '--cameras',
        metavar='C,…',
        help='their names, in the same order (default: made of the topics: front for '
        '/front/image_raw)',
    )
    pictures.add_argument(
        '--start', type=float, metavar='S', help='seconds after the start of the recording'
    )
    pictures.add_argument('--end', type=float, metavar='S', help='the same, of the end')
    pictures.add_argument(
        '--every', type=int, default=1, metavar='N', help='take one picture of so many'
    )
    pictures.add_argument(
        '--max-rate-hz',
        default='0',
        metavar='R,…',
        help='take at most so many in a second, for all cameras or for each (default: no limit)',
    )
    result = parser.add_argument_group('result')
    result.add_argument(
        '--format',
        default='bag',
        choices=('bag', 'npz', 'safetensors'),
        help='a bag, or a folder of files for each camera (default: %(default)s)',
    )
    result.add_argument(
        '--storage', choices=('mcap', 'sqlite3'), help='of the bag (default: as that of IN)'
    )
    result.add_argument(
        '--node-name',
        default='/theia',
        help='features of the bag are on NODE/CAMERA/features (default: %(default)s)',
    )
    result.add_argument(
        '--without-images',
        action='store_true',
        help='leave the pictures of the cameras out of the bag',
    )
    result.add_argument(
        '--shard-mb', type=float, default=256.0, help='size of a file (default: %(default)s)'
    )
    result.add_argument(
        '--overwrite', action='store_true', help='replace OUT, if this command made it'
    )


def run(args: argparse.Namespace) -> int:
    """Encode the pictures and write the result whole or not at all."""
    tensors = tensors_of(args.tensors)
    _check(args)
    params = EncoderParams(
        model=args.model,
        backend=args.backend,
        precision=args.precision,
        device=args.device,
        max_batch=max(args.max_batch, args.batch or 1),
        preprocessing=args.preprocessing,
        reduction=args.reduce,
    )
    try:
        from theia_ros.bags.convert import convert
        from theia_ros.bags.convert import Request
        from theia_ros.bags.summary import as_text
    except ModuleNotFoundError as exc:
        if exc.name not in ('rosbags', 'mcap'):
            raise
        raise ParameterError(f'{exc.name} is missing; run: pip install rosbags mcap') from exc
    request = Request(
        bag=args.bag,
        out=args.out,
        params=params,
        tensors=tensors,
        dtype=args.dtype,
        topics=None if args.topics is None else parts_of(args.topics),
        cameras=None if args.cameras is None else parts_of(args.cameras),
        start_s=args.start,
        end_s=args.end,
        every=args.every,
        max_rate_hz=_rates(args.max_rate_hz),
        batch=args.batch,
        expect=args.expect,
        format=args.format,
        storage=args.storage,
        node_name=args.node_name,
        without_images=args.without_images,
        shard_bytes=round(args.shard_mb * 1e6),
        overwrite=args.overwrite,
    )
    told = convert(request, Stages, _say)
    print(as_text(told, str(args.out), tensors))
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse what can be seen to be wrong at once."""
    if args.every < 1:
        raise ParameterError(f'--every is {args.every}; use 1 or more')
    if args.batch is not None and args.batch < 1:
        raise ParameterError(f'--batch is {args.batch}; use 1 or more')
    if not 0 < args.shard_mb < math.inf:
        raise ParameterError(f'--shard-mb is {args.shard_mb}; use more than 0')
    start, end = args.start or 0.0, args.end
    if not start >= 0 or (end is not None and not end > start):
        raise ParameterError(f'--start {start:g} and --end {end} leave nothing between them')
    if not re.fullmatch(r'(/[A-Za-z_]\w*)+', args.node_name, re.ASCII):
        raise ParameterError(f'--node-name is {args.node_name}; use one such as /theia')
    out, bag = args.out.resolve(), args.bag.resolve()
    if out == bag or out in bag.parents or bag in out.parents:
        raise ParameterError(f'{args.out} and {args.bag} lie in one another; choose another OUT')


def _rates(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(rate) for rate in parts_of(text) or ('0',))
    except ValueError as exc:
        raise ParameterError(f'--max-rate-hz is {text}; use a number, or one each') from exc


def _default(name: str) -> Any:
    return NodeParams.__dataclass_fields__[name].default


def _say(text: str) -> None:
    """Tell people something, also while a bar is shown."""
    from tqdm import tqdm

    tqdm.write(f'theia-ros bag: {text}', file=sys.stderr)
