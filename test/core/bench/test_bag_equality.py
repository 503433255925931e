from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from theia_ros.bench import bag_equality


def test_comparisons_count_equal_pictures_and_measure_the_others() -> None:
    a = np.zeros((3, 2, 2), np.float32)
    a[..., 0] = 3
    a[..., 1] = 4
    b = a.copy()
    b[1, 0] = 4, 3
    found = bag_equality.compare(a, b)
    assert found['equal_pictures'] == 2
    assert found['max_abs_difference'] == 1.0
    assert found['relative_l2'] == pytest.approx(np.sqrt(2 / 150))
    assert found['least_cosine'] == pytest.approx(24 / 25)


def test_a_bit_is_a_difference() -> None:
    a = np.zeros((1, 1, 1), np.float32)
    assert bag_equality.compare(a + 1, a + 1)['equal_pictures'] == 1
    assert bag_equality.compare(a + 1, np.nextafter(a + 1, 2))['equal_pictures'] == 0
    with np.errstate(invalid='ignore'):
        assert bag_equality.compare(a, -a)['equal_pictures'] == 0  # the sign of zero


def test_figures_of_an_engine(tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / 'figures.json'
    monkeypatch.setattr(bag_equality, 'PLACES', bag_equality.PLACES[1:2])
    model = 'theia-tiny-patch16-224-cddsv'
    options = ['--backends', 'fake', '--precisions', 'fp32', '--model', model, '--pictures', '8']
    monkeypatch.setattr(sys, 'argv', ['bag_equality', '--json', str(out), *options])
    bag_equality._main()
    figures = json.loads(out.read_text())
    assert (figures['model'], figures['pictures'], figures['tensor']) == (model, 8, 'theia')
    assert {'hardware', 'versions', 'date', 'git'} <= set(figures)
    rows = figures['engines']['fake fp32']
    assert list(rows) == [
        'fake fp32',
        *(f'batches of {size}' for size in (2, 4, 8)),
        'other pictures in batches of 8',
        '1 core',
    ]
    # Means of pixels, which no neighbour can change.
    assert {row['equal_pictures'] for row in rows.values()} == {8}
    assert {row['max_abs_difference'] for row in rows.values()} == {0.0}


def test_the_committed_figures_are_of_this_measurement() -> None:
    root = Path(__file__).parents[3]
    figures = json.loads((root / 'docs' / 'results' / 'bag-equality-cpu.json').read_text())
    names = {place.name for place in bag_equality.PLACES}
    names |= {f'batches of {size}' for size in bag_equality.BATCHES}
    for rows in figures['engines'].values():
        assert names < set(rows)
