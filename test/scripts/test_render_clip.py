"""`scripts/render_clip.py`: what it says without a simulator, and what it renders with one."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / 'scripts' / 'render_clip.py'
_MISSING = [name for name in ('av', 'mujoco', 'robosuite') if not importlib.util.find_spec(name)]


def render(*arguments: object, before: str = '') -> subprocess.CompletedProcess[str]:
    """Run the script, and a line of Python before it in the same process."""
    code = (
        f'{before}\nimport runpy, sys\nsys.path.insert(0, {str(SCRIPT.parent)!r})\n'
        f'runpy.run_path({str(SCRIPT)!r}, run_name="__main__")'
    )
    command = [sys.executable, '-c', code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


WITHOUT = 'import sys; sys.modules["mujoco"] = None'


def test_help_needs_no_simulator() -> None:
    done = render('--help', before=WITHOUT)
    assert (done.returncode, done.stderr) == (0, '')
    assert '  python scripts/render_clip.py --output theia_ros/demo/data --seed 6 ' in done.stdout
    assert '  pip install mujoco==3.3.7 av && ' in done.stdout


def test_a_missing_simulator_is_told_in_one_line(tmp_path: Path) -> None:
    done = render('--output', tmp_path / 'clips', before=WITHOUT)
    assert done.returncode == 2
    assert done.stderr.startswith('render_clip: ')
    assert done.stderr.endswith('; see --help for what to install\n')
    assert done.stderr.count('\n') == 1
    assert not (tmp_path / 'clips').exists()


simulator = pytest.mark.skipif(
    bool(_MISSING), reason=f'needs {" and ".join(_MISSING)}; see scripts/render_clip.py --help'
)


@simulator
@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['--camera', 'top'], "unknown camera 'top'; known: front, side, wrist"),
        (['--fps', '30'], '--fps 30 does not divide 100; use 10, 20 or 25'),
        (['--width', '63'], '63x480: H.264 needs even numbers'),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path: Path, arguments: list[str], says: str) -> None:
    done = render('--output', tmp_path / 'clips', *arguments)
    assert (done.returncode, done.stderr) == (2, f'render_clip: {says}\n')


@simulator
def test_a_clip_has_its_pictures_their_truth_and_a_description(tmp_path: Path) -> None:
    size = ('--width', 64, '--height', 48, '--seconds', 0.2, '--fps', 10, '--fast')
    done = render('--output', tmp_path, '--name', 'two', *size, '--truth-stride', 2)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        'two.json',
        'two.mp4',
        'two_truth.npz',
    ]
    with np.load(tmp_path / 'two_truth.npz', allow_pickle=False) as file:
        truth = dict(file)
    assert truth['frame_index'].tolist() == [0, 1]
    assert truth['depth_mm'].shape == truth['labels'].shape == (2, 24, 32)
    assert truth['camera_to_world'].shape == (2, 4, 4)
    assert 500 < truth['depth_mm'].min() < truth['depth_mm'].max() < 6000
    described = json.loads((tmp_path / 'two.json').read_text())
    assert (described['video']['frames'], described['truth']['stride_px']) == (2, 2)
    seen = {described['classes'][label] for label in np.unique(truth['labels'])}
    assert {'background', 'table', 'robot'} <= seen
