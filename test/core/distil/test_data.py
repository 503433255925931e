from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from theia_ros.distil import data as data_module
from theia_ros.distil.data import prepare
from theia_ros.distil.sources import Reading
from theia_ros.errors import ParameterError
from theia_ros.images import read_rgb
from theia_ros.preprocess import official


def prepared(tmp_path: Path, silent, *learned: Path, held_out: tuple[Path, ...] = ()):
    return prepare(learned, held_out, Reading(), tmp_path / 'cache', silent)


def test_pictures_are_what_the_model_sees(photos: Path, tmp_path, silent, monkeypatch) -> None:
    monkeypatch.setattr(data_module, 'SHARD', 4)  # several files
    data = prepared(tmp_path, silent, photos)
    assert len(data) == 6
    pictures = data.pictures([5, 0, 3])
    for pixels, name in zip(pictures.pixels, ('5', '0', '3'), strict=True):
        expected = official(read_rgb(photos / f'{name}.png'))
        np.testing.assert_array_equal(pixels.numpy(), expected)
    assert (pictures.labels == 255).all()
    assert not pictures.depth_m.any()
    assert not data.has_truth


def test_the_truth_is_picked_and_never_mixed(clip: Path, tmp_path: Path, silent) -> None:
    data = prepared(tmp_path, silent, clip)
    assert data.has_truth
    assert data.classes == ['ground', 'a', 'b', 'square']
    pictures = data.pictures([2])
    assert set(pictures.depth_m.unique().tolist()) == {1.0, 3.0}
    # 10..30 of 48 rows and 8..24 of 64 columns.
    near = torch.zeros(64, 64, dtype=torch.bool)
    near[13:40, 8:24] = True
    assert torch.equal(pictures.labels[0] == 3, near)
    assert torch.equal(pictures.depth_m[0] == 1.0, near)


def test_the_second_time_nothing_is_read(photos: Path, tmp_path: Path, monkeypatch) -> None:
    told: list[str] = []
    first = prepared(tmp_path, lambda doing, *_: told.append(doing), photos)
    assert told
    told.clear()
    again = prepared(tmp_path, lambda doing, *_: told.append(doing), photos)
    assert (again.key, told) == (first.key, [])


def test_a_changed_picture_makes_another_data_set(photos: Path, tmp_path: Path, silent) -> None:
    first = prepared(tmp_path, silent, photos)
    Image.new('RGB', (9, 9)).save(photos / '3.png')
    second = prepared(tmp_path, silent, photos)
    assert second.key != first.key
    assert not second.pictures([3]).pixels.any()


def test_broken_pictures_are_counted(photos: Path, tmp_path: Path, silent) -> None:
    (photos / '2.png').write_text('no picture')
    data = prepared(tmp_path, silent, photos)
    assert (len(data), data.skipped) == (5, {'format': 1})


def test_nothing_but_broken_pictures_is_a_mistake(tmp_path: Path, silent) -> None:
    (tmp_path / 'a.png').write_text('no picture')
    with pytest.raises(ParameterError, match='no picture can be read; skipped: 1 format'):
        prepared(tmp_path, silent, tmp_path / 'a.png')


def test_of_a_series_the_end_is_held_out(clip: Path, tmp_path: Path, silent) -> None:
    data = prepared(tmp_path, silent, clip)
    learned, held_out = data.split(0.25)
    assert learned.tolist() == list(range(9))
    assert held_out.tolist() == [9, 10, 11]


def test_of_single_pictures_some_are_held_out_always_the_same(tmp_path: Path, silent) -> None:
    folder = tmp_path / 'many'
    folder.mkdir()
    for i in range(60):
        Image.new('RGB', (4, 4), (i, 0, 0)).save(folder / f'{i:02}.png')
    data = prepared(tmp_path, silent, folder)
    learned, held_out = data.split(0.3)
    assert sorted([*learned, *held_out]) == list(range(60))
    assert 8 < len(held_out) < 30
    # One more picture moves none of the others to the other side.
    names = {data.pictures([i]).pixels[0, 0, 0, 0].item() for i in held_out}
    Image.new('RGB', (4, 4), (99, 0, 0)).save(folder / '00b.png')
    more = prepared(tmp_path, silent, folder)
    now = {more.pictures([i]).pixels[0, 0, 0, 0].item() for i in more.split(0.3)[1]}
    assert now - {99} == names


def test_data_that_is_held_out_is_never_learned_from(photos, clip, tmp_path, silent) -> None:
    data = prepared(tmp_path, silent, photos, held_out=(clip,))
    learned, held_out = data.split(0.5)
    assert learned.tolist() == list(range(6))
    assert held_out.tolist() == list(range(6, 18))


def test_a_killed_reading_is_begun_again(photos: Path, tmp_path: Path, silent) -> None:
    data = prepared(tmp_path, silent, photos)
    folder = tmp_path / 'cache' / data.key
    expected = data.pictures(range(6)).pixels
    # As a kill leaves it: shards, perhaps half of one, and no index.
    (folder / 'index.json').unlink()
    shutil.copy(folder / '000000.safetensors', folder / '000000.safetensors.999999999.part')
    again = prepared(tmp_path, silent, photos)
    assert torch.equal(again.pictures(range(6)).pixels, expected)
    assert sorted(p.name for p in folder.iterdir()) == ['000000.safetensors', 'index.json']
