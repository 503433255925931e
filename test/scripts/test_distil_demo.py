"""What `scripts/distil_demo` does before and after the training of demo-tiny."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from demo_tiny import keep_model
from demo_tiny import photo_crops
from PIL import Image
from safetensors.numpy import load_file
from safetensors.numpy import save_file

ROOT = Path(__file__).parents[2]
COLOURS = {'red': (250, 10, 10), 'blue': (10, 10, 250)}


@pytest.fixture
def photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of one colour each, instead of those that packages ship."""
    found = {name: np.full((300, 400, 3), rgb, np.uint8) for name, rgb in COLOURS.items()}
    monkeypatch.setattr(photo_crops, 'photographs', lambda: found)


@pytest.mark.usefixtures('photographs')
def test_each_photograph_gives_as_many_crops(tmp_path: Path, capsys) -> None:
    folder = tmp_path / 'data' / 'photos'
    photo_crops.main(folder, 3)
    assert capsys.readouterr().out == f'{folder}: 2 photographs, 6 pictures\n'
    names = [f'{colour}_{i:03d}.jpg' for colour in sorted(COLOURS) for i in range(3)]
    assert sorted(path.name for path in folder.iterdir()) == names
    for name in names:
        with Image.open(folder / name) as picture:
            assert picture.getpixel((5, 5)) == pytest.approx(COLOURS[name[:-8]], abs=8)
    assert [path.name for path in folder.parent.iterdir()] == ['photos']


@pytest.mark.usefixtures('photographs')
def test_a_killed_run_leaves_no_folder_and_is_made_again(tmp_path: Path, monkeypatch) -> None:
    folder, honest, made = tmp_path / 'photos', photo_crops.crop, []

    def stop(*arguments: object) -> Image.Image:
        made.append(arguments)
        if len(made) == 4:
            raise KeyboardInterrupt
        return honest(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(photo_crops, 'crop', stop)
        with pytest.raises(KeyboardInterrupt):
            photo_crops.main(folder, 3)
    assert not folder.exists()
    photo_crops.main(folder, 2)
    assert len(list(folder.iterdir())) == 4


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match='is there already; give another folder, or delete it'):
        photo_crops.main(tmp_path, 2)
    assert not list(tmp_path.iterdir())


def test_a_crop_is_a_part_of_the_photograph_that_is_not_too_small_or_large() -> None:
    # Each pixel tells its row and column.
    rows, columns = np.indices((200, 250))
    rgb = np.stack([rows, columns, np.zeros_like(rows)], axis=2).astype(np.uint8)
    rng, mirrored = np.random.default_rng(0), 0
    for _ in range(100):
        part = np.asarray(photo_crops.crop(rgb, rng)).astype(int)
        h, w = part.shape[:2]
        assert 0.09 < h * w / (200 * 250) <= 1
        y, left, right = part[0, 0, 0], part[0, 0, 1], part[0, -1, 1]
        mirrored += left > right
        x = min(left, right)
        expected = rgb[y : y + h, x : x + w]
        assert (part == (expected[:, ::-1] if left > right else expected)).all()
    assert 30 < mirrored < 70


def test_a_large_crop_is_made_smaller() -> None:
    picture = photo_crops.crop(np.zeros((3000, 2000, 3), np.uint8), np.random.default_rng(0))
    assert max(picture.size) == photo_crops.MOST_PX


def test_a_model_is_kept_in_half_precision_with_its_figures(tmp_path: Path, capsys) -> None:
    run, folder = tmp_path / 'run', tmp_path / 'kept'
    (run / 'model' / 'statistics').mkdir(parents=True)
    weights = {'a.weight': np.float32([[1 / 3, 2]]), 'b': np.float32([5])}
    save_file(weights, run / 'model' / 'model.safetensors')
    config = {'image_size': 224, 'torch_dtype': 'float32'}
    (run / 'model' / 'config.json').write_text(json.dumps(config))
    (run / 'model' / 'statistics' / 'mean.npy').write_bytes(b'mean')
    for name in ('evaluation.json', 'run.json'):
        (run / name).write_text(f'"{name}"')
    rows = [f'{step},{1 / step}' for step in range(1, 61)]
    (run / 'losses.csv').write_text('\n'.join(['step,loss', *rows, '']))
    for _ in range(2):  # what is there is replaced
        keep_model.main(run, folder)
    kept = load_file(folder / 'model.safetensors')
    assert {name: array.dtype for name, array in kept.items()} == dict.fromkeys(weights, 'float16')
    assert all((kept[name] == np.float16(weights[name])).all() for name in weights)
    found = json.loads((folder / 'config.json').read_text())
    assert (found['image_size'], found['torch_dtype']) == (224, 'float16')
    assert found['license'] == 'Apache-2.0'
    assert (folder / 'statistics' / 'mean.npy').read_bytes() == b'mean'
    assert json.loads((folder / 'run.json').read_text()) == 'run.json'
    with (folder / 'losses.csv').open() as file:
        assert [row['step'] for row in csv.DictReader(file)] == ['1', '26', '51']
    assert capsys.readouterr().out.endswith('2 tensors, 0.0 MB\n')


@pytest.mark.parametrize(
    ('arguments', 'status', 'says'),
    [
        (['--help'], 0, 'Usage: scripts/distil_demo FOLDER'),
        ([], 2, 'Usage: scripts/distil_demo FOLDER'),
        (['somewhere', '--epochs', '3'], 2, 'scripts/distil_demo: unknown argument --epochs'),
    ],
)
def test_the_script_says_how_it_is_used(arguments: list[str], status: int, says: str) -> None:
    done = subprocess.run(
        [ROOT / 'scripts' / 'distil_demo', *arguments], capture_output=True, text=True
    )
    assert done.returncode == status
    assert (done.stderr if status else done.stdout).startswith(says)
