"""`theia-ros bench`: how fast each backend is, and whether its numbers are right."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from typing import TypeVar

from theia_ros.commands.files import whole_file
from theia_ros.errors import ParameterError
from theia_ros.params import choices
from theia_ros.params import EncoderParams

HELP = 'Compare every backend with the published way of computing features, then time them all.'
EXAMPLES = """examples:
  theia-ros bench                                        the demo model, in about a minute
  theia-ros bench --model theia-tiny-patch16-224-cddsv --tensors theia all --json tiny.json
  theia-ros bench --backends torch,openvino --precisions fp32,bf16 --batches 1 --rounds 500
  theia-ros bench --plot bench.png                       needs matplotlib
  theia-ros bench --ros                                  the whole node, images to features
  theia-ros bench --ros --cameras 1,2,4 --rates 10,30,60,max --json ros.json

Whoever does not give the baseline's numbers, within the limits of its precision, is named and
not timed. The others take turns in one process: A B C, A B C. See docs/bench.md."""

_SIZE = re.compile(r'(\d+)x(\d+)')
_LARGEST_PX = 8192
T = TypeVar('T')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        '--model',
        default=EncoderParams.model,
        help='name of a model, or its folder (default: %(default)s)',
    )
    parser.add_argument(
        '--backends',
        help=f'comma-separated: {",".join(choices("backend"))} (default: all but auto and fake; '
        'with --ros: fake and auto)',
    )
    parser.add_argument(
        '--precisions',
        help=f'comma-separated: {",".join(choices("precision"))} (default: all but auto; with '
        '--ros: auto)',
    )
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    parser.add_argument(
        '--image-size', default='640x480', metavar='WxH', help='of the pictures (%(default)s)'
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write every figure there')
    parser.add_argument('--plot', type=Path, metavar='FILE.png', help='draw the figures')
    parser.add_argument(
        '--seconds', type=float, help='for each case (default: 8; with --ros, each rate: 4)'
    )
    encoder = parser.add_argument_group('without --ros')
    encoder.add_argument(
        '--batches', default='1,2,4,8', help='pictures of a batch (default: %(default)s)'
    )
    encoder.add_argument(
        '--tensors',
        nargs='+',
        default=['theia'],
        metavar='SET',
        help='theia, all, maps (all, and what can be decoded from them), or names with commas; '
        'each set is a case (default: theia)',
    )
    encoder.add_argument(
        '--rounds', type=int, default=1000, help='at most, for each case (default: %(default)s)'
    )
    encoder.add_argument(
        '--segmentation',
        action='store_true',
        help='bench the order of work in segmentation against the naive one, and nothing else',
    )
    ros = parser.add_argument_group('the node')
    ros.add_argument('--ros', action='store_true', help='bench the node, in processes of its own')
    ros.add_argument('--cameras', default='1', help='numbers of cameras (default: %(default)s)')
    ros.add_argument(
        '--rates',
        default='10,30,60,max',
        help='images of each camera a second; max is the highest with under 5 %% lost '
        '(default: %(default)s)',
    )


def run(args: argparse.Namespace) -> int:
    """Measure, print the tables and write the files."""
    _check_places(args)
    if args.segmentation:
        document = _bench_segmentation(args)
    else:
        document = _bench_node(args) if args.ros else _bench_encoder(args)
    from theia_ros.bench import plot
    from theia_ros.bench import report

    print(report.text(document))
    if args.json:
        text = json.dumps(_plain(document), indent=1, allow_nan=False) + '\n'
        with whole_file(args.json) as file:
            file.write(text.encode())
        print(f'wrote {args.json}')
    if args.plot:
        plot.write(document, args.plot)
        print(f'wrote {args.plot}')
    return 0


def _bench_encoder(args: argparse.Namespace) -> dict[str, Any]:
    backends = _names(args.backends, '--backends', 'backend')
    precisions = _names(args.precisions, '--precisions', 'precision')
    batches = _list(args.batches, '--batches', _count, 'numbers from 1 to 64, such as 1,2,4,8')
    image_hw, seconds = _image_hw(args.image_size), _seconds(args.seconds, 8.0)
    if args.rounds < 1:
        raise ParameterError(f'--rounds is {args.rounds}; use 1 or more')
    from theia_ros.bench import contenders
    from theia_ros.bench import race

    settings = race.Settings(
        backends=backends or contenders.BACKENDS,
        precisions=precisions or contenders.PRECISIONS,
        batches=batches,
        outputs=tuple(dict.fromkeys(args.tensors)),
        image_hw=image_hw,
        rounds=args.rounds,
        seconds=seconds,
    )
    return race.run(_params(args), settings)


def _bench_segmentation(args: argparse.Namespace) -> dict[str, Any]:
    if args.ros or args.plot:
        raise ParameterError('--segmentation goes neither with --ros nor with --plot')
    from theia_ros.bench import segmentation

    return segmentation.run(_params(args), _image_hw(args.image_size), min(args.rounds, 5))


def _bench_node(args: argparse.Namespace) -> dict[str, Any]:
    backends = _names(args.backends, '--backends', 'backend')
    precisions = _names(args.precisions, '--precisions', 'precision')
    cameras = _list(args.cameras, '--cameras', _count, 'numbers from 1 to 64, such as 1,2,4')
    rates = _list(args.rates, '--rates', _rate, 'numbers from above 0 to 1000, and max')
    image_hw, seconds = _image_hw(args.image_size), _seconds(args.seconds, 4.0)
    try:
        from theia_ros.bench import ros_race
    except ImportError as exc:
        raise ParameterError(
            f'--ros needs rclpy and theia_msgs ({exc}); run scripts/setup, or source a ROS 2'
        ) from exc
    settings = ros_race.Settings(
        backends=backends or ('fake', 'auto'),
        precisions=precisions or ('auto',),
        cameras=cameras,
        rates=rates,
        image_hw=image_hw,
        seconds=seconds,
    )
    return ros_race.run(_params(args), settings)


def _params(args: argparse.Namespace) -> EncoderParams:
    return EncoderParams(model=args.model, device=args.device)


def _check_places(args: argparse.Namespace) -> None:
    """Refuse before the measurement what would lose it afterwards."""
    for option, path in (('--json', args.json), ('--plot', args.plot)):
        if path and path.is_dir():
            raise ParameterError(f'{option} {path} is a folder; name a file')
        if path and not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
            raise ParameterError(f'{option} {path}: its folder is not there, or not writable')
    if args.plot:
        from theia_ros.bench import plot

        if args.plot.suffix not in plot.SUFFIXES:
            raise ParameterError(f'--plot {args.plot}: use {", ".join(plot.SUFFIXES)}')
        plot.require()


def _names(text: str | None, option: str, parameter: str) -> tuple[str, ...]:
    """Return the values of a parameter that a list names; none when nothing was given."""
    if text is None:
        return ()
    known = choices(parameter)
    return _list(text, option, {name: name for name in known}.__getitem__, ', '.join(known))


def _list(text: str, option: str, read: Callable[[str], T], expected: str) -> tuple[T, ...]:
    """Read a comma-separated list, each value once."""
    try:
        return tuple(dict.fromkeys(read(part) for part in text.split(',')))
    except (KeyError, ValueError):
        raise ParameterError(f'{option} is {text!r}; use {expected}') from None


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 64:
        raise ValueError(text)
    return value


def _rate(text: str) -> float:
    """Return a rate, Hz; `max` is infinite."""
    value = float('inf') if text == 'max' else float(text)
    if not (0 < value <= 1000 or text == 'max'):
        raise ValueError(text)
    return value


def _image_hw(text: str) -> tuple[int, int]:
    found = _SIZE.fullmatch(text)
    if not found or not all(16 <= int(side) <= _LARGEST_PX for side in found.groups()):
        raise ParameterError(
            f'--image-size is {text!r}; use width and height such as 640x480, each from 16 to '
            f'{_LARGEST_PX}'
        )
    return int(found[2]), int(found[1])


def _seconds(given: float | None, default: float) -> float:
    seconds = default if given is None else given
    if not 0 < seconds < float('inf'):
        raise ParameterError(f'--seconds is {given}; use more than 0')
    return seconds


def _plain(value: Any) -> Any:
    """Return a value with what JSON has no word for: `max` for no limit, null for no number."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return 'max' if value == math.inf else None
    return value
