"""`theia-ros encode`: image files in, one file of features out."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from theia_ros.catalog import BACKBONE
from theia_ros.catalog import check_tensors
from theia_ros.catalog import TARGETS
from theia_ros.commands.arguments import tensors_of
from theia_ros.commands.files import whole_file
from theia_ros.commands.stages import Stages
from theia_ros.errors import ParameterError
from theia_ros.params import choices
from theia_ros.params import EncoderParams

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HELP = 'Encode image files and write one float32 array per tensor, (images, tokens, channels).'
EXAMPLES = """examples:
  theia-ros encode photo.jpg --model demo-dinov2-small --output features.npz
  theia-ros encode a.png b.png --model ~/my_theia --tensors theia,dinov2 --output out.npz
  theia-ros encode *.png --model ~/my_theia --reduce cls --output cls.npz"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument('images', nargs='+', type=Path, metavar='IMAGE', help='image file')
    parser.add_argument('--model', required=True, help='name of a model, or its folder')
    parser.add_argument('--output', required=True, type=Path, metavar='OUT.npz')
    parser.add_argument(
        '--tensors',
        default=BACKBONE,
        help=f'comma-separated: {",".join((BACKBONE, *TARGETS))} (default: %(default)s)',
    )
    parser.add_argument(
        '--reduce',
        default='none',
        choices=choices('reduction'),
        help=f'of the tokens of {BACKBONE} (default: %(default)s: all patches)',
    )
    # What is kept deserves the reference, though it is not the fastest.
    parser.add_argument(
        '--backend',
        default='torch',
        choices=choices('backend'),
        help='what runs the model (default: %(default)s, which with fp32 is the reference)',
    )
    parser.add_argument(
        '--precision',
        default='fp32',
        choices=choices('precision'),
        help='arithmetic of the engine (default: %(default)s)',
    )
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    parser.add_argument('--preprocessing', default='official', choices=choices('preprocessing'))
    parser.add_argument(
        '--batch-size', type=int, default=8, help='images of one pass (default: %(default)s)'
    )


def run(args: argparse.Namespace) -> int:
    """Encode the images and write the file whole or not at all."""
    names = tensors_of(args.tensors)
    if args.batch_size < 1:
        raise ParameterError(f'--batch-size is {args.batch_size}; use 1 or more')
    if not args.output.parent.is_dir():
        raise ParameterError(f'{args.output}: folder {args.output.parent} does not exist')
    if args.output.is_dir():
        raise ParameterError(f'{args.output} is a folder; name a file for --output')
    missing = next((path for path in args.images if not path.is_file()), None)
    if missing:
        raise ParameterError(f'{missing}: no such file')

    from tqdm import tqdm

    from theia_ros.datatypes import Frame
    from theia_ros.encoder import Encoder
    from theia_ros.images import read_rgb
    from theia_ros.npz import write_npz

    params = EncoderParams(
        model=args.model,
        backend=args.backend,
        precision=args.precision,
        device=args.device,
        preprocessing=args.preprocessing,
        reduction=args.reduce,
    )
    arrays: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    with Stages() as report:
        opened = Encoder(params, report)
    with (
        opened as encoder,
        tqdm(total=len(args.images), unit='image', delay=2, leave=False) as progress,
    ):
        check_tensors(args.model, names, encoder.tensors)
        for paths in _batches(args.images, min(args.batch_size, encoder.max_batch)):
            frames = [Frame(read_rgb(path)) for path in paths]
            for encoded in encoder.encode(frames, names):
                for name in names:
                    arrays[name].append(encoded.features[name].tokens)
            progress.update(len(paths))
    stacked = {name: _stack(name, parts) for name, parts in arrays.items()}
    with whole_file(args.output) as file:
        write_npz(file, stacked)
    shapes = ', '.join(f'{name} {array.shape}' for name, array in stacked.items())
    print(f'{args.output}: {shapes}')
    return 0


def _batches(paths: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    for start in range(0, len(paths), size):
        yield paths[start : start + size]


def _stack(name: str, arrays: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    import numpy as np

    shapes = sorted({array.shape for array in arrays})
    if len(shapes) > 1:
        raise ParameterError(
            f'{name} has a different shape for different images, {shapes}; give images of one size'
        )
    return np.stack(arrays)
