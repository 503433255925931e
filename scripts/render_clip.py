"""Render a clip of a robot arm that tidies a table, with depth and segmentation ground truth.

Writes three files into the output folder:

* `NAME.mp4`: the pictures, H.264;
* `NAME_truth.npz`: depth in millimetres, class labels and instance ids of every `--truth-every`
  th frame and every `--truth-stride` th pixel, and the robot's state in every frame;
* `NAME.json`: what the numbers mean: sizes, camera, classes, seed, versions, licences.

The same seed gives the same motion; the pictures also depend on the OpenGL driver.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import closing
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from arguments import whole

MISSING = ''
try:
    import av

    from table.model import CAMERAS
    from table.model import CLASSES
    from table.model import SceneError
    from table.scene import CONTROL_PERIOD_S
    from table.scene import pick_and_place
    from table.scene import TableScene
except ImportError as exc:  # main() says it, so that --help works without a simulator
    MISSING = f'{exc}; see --help for what to install'

EXAMPLE = """example, the clip in theia_ros/demo/data:
  python scripts/render_clip.py --output theia_ros/demo/data --seed 6 \\
      --seconds 12 --fps 25 --crf 18 --truth-stride 4 --truth-every 2

training data, one clip per seed, colours and light and camera drawn from the seed:
  for seed in $(seq 100); do
      python scripts/render_clip.py --output train --name clip_$seed --seed $seed --vary \\
          --fast --seconds 34 --fps 2 --truth-stride 2
  done

needs, in an environment of its own:
  pip install mujoco==3.3.7 av && pip install --no-deps robosuite==1.5.2
  and on Debian or Ubuntu: apt install libegl1 libgl1 libgl1-mesa-dri
"""
LICENCES = {
    'clip': 'Apache-2.0',
    'simulator': 'MuJoCo, Apache-2.0',
    'robot': 'robosuite (MIT), whose Panda meshes come from franka_description, '
    'Copyright Franka Robotics GmbH, Apache-2.0',
    'everything else': 'primitives and computed colours of scripts/table/model.py, Apache-2.0',
}


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = _parser().parse_args(argv)
    if MISSING:
        return _fail(MISSING)
    steps_per_second = round(1 / CONTROL_PERIOD_S)
    if args.camera not in CAMERAS:
        known = ', '.join(CAMERAS)
        return _fail(f'unknown camera {args.camera!r}; known: {known}')
    if steps_per_second % args.fps:
        # Otherwise the time between frames would alternate, and motion would stutter.
        return _fail(f'--fps {args.fps} does not divide {steps_per_second}; use 10, 20 or 25')
    if args.width % 2 or args.height % 2:
        return _fail(f'{args.width}x{args.height}: H.264 needs even numbers')
    try:
        args.output.mkdir(parents=True, exist_ok=True)
        _render(args, steps_per_second // args.fps)
    except (SceneError, OSError) as exc:
        return _fail(str(exc))
    return 0


def _render(args: argparse.Namespace, steps_per_frame: int) -> None:
    """Write the three files."""
    frames = max(1, round(args.seconds * args.fps))
    step = args.truth_stride
    cut = np.s_[step // 2 :: step, step // 2 :: step]
    truth: dict[str, list[Any]] = defaultdict(list)
    video_file, truth_file, meta_file = (
        args.output / f'{args.name}{end}' for end in ('.mp4', '_truth.npz', '.json')
    )
    started_s = time.monotonic()
    scene = TableScene(args.seed, (args.height, args.width), args.vary, not args.fast)
    with closing(scene), _video(video_file, args) as add:
        commands = pick_and_place(scene)
        for i in range(frames):
            picture = scene.render(args.camera)
            add(picture.rgb)
            truth['joint_positions_rad'].append(np.float32(scene.joint_positions_rad))
            truth['tool_position_m'].append(np.float32(scene.tool_position_m))
            truth['opening_m'].append(np.float32(scene.opening_m))
            truth['camera_to_world'].append(np.float32(scene.camera_to_world(args.camera)))
            if i % args.truth_every == 0:
                depth_mm = np.rint(picture.depth_m[cut] * 1000).clip(0, 65535)
                truth['frame_index'].append(np.int32(i))
                truth['depth_mm'].append(depth_mm.astype(np.uint16))
                truth['labels'].append(picture.labels[cut])
                truth['instances'].append(picture.instances[cut])
            for _ in range(steps_per_frame):
                scene.step(next(commands))
            _progress(i + 1, frames, started_s)
        arrays = {name: np.stack(rows) for name, rows in truth.items()}
        meta = _meaning(args, scene, arrays)
    with _complete(truth_file) as part, part.open('wb') as out:
        np.savez_compressed(out, **arrays)
    with _complete(meta_file) as part:
        part.write_text(json.dumps(meta, indent=2) + '\n')
    for file in (video_file, truth_file, meta_file):
        print(f'{file}  {file.stat().st_size / 1e6:.2f} MB')


def _meaning(
    args: argparse.Namespace, scene: TableScene, arrays: dict[str, np.ndarray]
) -> dict[str, Any]:
    """Return what a reader of the clip has to know."""
    frames, rows, columns = arrays['labels'].shape
    return {
        'video': {
            'file': f'{args.name}.mp4',
            'codec': 'h264',
            'width': args.width,
            'height': args.height,
            'fps': args.fps,
            'frames': len(arrays['opening_m']),
        },
        'truth': {
            'file': f'{args.name}_truth.npz',
            'width': columns,
            'height': rows,
            'every_frames': args.truth_every,
            'frames': frames,
            'stride_px': args.truth_stride,
            'offset_px': args.truth_stride // 2,
            'pixels': 'truth[r, c] is video pixel '
            '[offset_px + stride_px * r, offset_px + stride_px * c], not an average',
            'depth_unit_m': 0.001,
            'depth_axis': 'along the optical axis, not along the ray',
            'depth_range_m': [
                int(arrays['depth_mm'].min()) / 1000,
                int(arrays['depth_mm'].max()) / 1000,
            ],
        },
        'camera': {
            'name': args.camera,
            'moves': args.camera == 'wrist',
            **scene.intrinsics(args.camera),
            'model': 'pinhole without distortion, in pixels of the video; the centre of the '
            'first pixel is (0, 0)',
            'pose': 'camera_to_world: from the optical frame (x right, y down, z forward) to the '
            'world (x to the front, y to the left of the robot, z up, table top at '
            'z = 0), metres',
        },
        'classes': list(CLASSES),
        'instances': {
            str(i + 1): {'name': thing.name, 'class': thing.label, 'rgb': scene.thing_rgb(i)}
            for i, thing in enumerate(scene.things)
        },
        'seed': args.seed,
        'vary': args.vary,
        'fast': args.fast,
        'versions': {name: version(name) for name in ('mujoco', 'robosuite', 'av', 'numpy')},
        'opengl': scene.opengl,
        'licences': LICENCES,
    }


@contextmanager
def _complete(file: Path) -> Iterator[Path]:
    """Give a temporary name in the same folder: a killed run leaves no half file."""
    part = file.with_name(f'{file.name}.part')
    try:
        yield part
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _video(file: Path, args: argparse.Namespace) -> Iterator[Callable[[np.ndarray], None]]:
    """Give what appends a frame (H, W, 3) to an H.264 file."""
    options = {'movflags': '+faststart'}
    with _complete(file) as part, av.open(str(part), 'w', 'mp4', options=options) as container:
        stream = container.add_stream('libx264', rate=args.fps)
        stream.width, stream.height = args.width, args.height
        stream.pix_fmt = 'yuv420p'  # the only layout that every player decodes
        stream.options = {'crf': str(args.crf), 'preset': 'slower', 'g': '50'}

        def add(rgb: np.ndarray) -> None:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format='rgb24')))

        yield add
        container.mux(stream.encode(None))


def _progress(done: int, total: int, started_s: float) -> None:
    if done % max(1, total // 20) == 0 or done == total:
        rate_hz = done / (time.monotonic() - started_s)
        print(
            f'{done}/{total} frames, {rate_hz:.1f} per second, '
            f'{(total - done) / rate_hz:.0f} s left',
            file=sys.stderr,
            flush=True,
        )


def _fail(message: str) -> int:
    print(f'render_clip: {message}', file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='render_clip.py',
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def positive(text: str) -> float:
        value = float(text)
        if not 0 < value < 3600:
            raise argparse.ArgumentTypeError(f'{text} is not between 0 and 3600')
        return value

    add = parser.add_argument
    add('--output', type=Path, required=True, metavar='DIR', help='folder for the three files')
    add('--name', default='panda_table', help='first part of their names (%(default)s)')
    add('--seed', type=int, default=0, help='where the objects lie, what is picked (%(default)s)')
    add('--seconds', type=positive, default=12.0, help='length of the clip (%(default)s)')
    add('--fps', type=whole, default=25, help='frames per second (%(default)s)')
    add('--width', type=whole, default=640, help='pixels (%(default)s)')
    add('--height', type=whole, default=480, help='pixels (%(default)s)')
    add('--camera', default='front', help='front, side or wrist (%(default)s)')
    add('--vary', action='store_true', help='draw colours, light and camera from the seed too')
    add('--fast', action='store_true', help='no shadows, no smooth edges; much faster')
    add('--crf', type=int, default=20, help='H.264 quality, smaller is better (%(default)s)')
    add('--truth-every', type=whole, default=1, metavar='N', help='frames (%(default)s)')
    add('--truth-stride', type=whole, default=1, metavar='N', help='pixels (%(default)s)')
    return parser


if __name__ == '__main__':
    sys.exit(main())
