"""The demo model with heads is put together of the parts that are shipped and made."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from theia_ros import checkpoint
from theia_ros.catalog import MODELS
from theia_ros.demo import table
from theia_ros.errors import WeightsError

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / 'models' / table.NAME
LARGEST_MB = 25


@pytest.fixture
def made_backbone(monkeypatch, tmp_path):
    """A backbone of the right shape, made in no time, and how often it was asked for."""
    monkeypatch.setenv('THEIA_ROS_CACHE', str(tmp_path / 'cache'))
    from helpers import synthetic

    asked = []

    def prepare(folder, *, report):
        asked.append(folder)
        if not folder.exists():
            synthetic.write_model(folder, 'small', teachers=[])

    monkeypatch.setattr(table.backbone, 'prepare', prepare)
    return asked


def test_the_repository_holds_heads_and_no_backbone():
    heads = load_file(SHIPPED / 'heads.safetensors')
    assert all(key.startswith('translator.translator_heads.simulator/') for key in heads)
    assert {array.dtype for array in heads.values()} == {np.dtype('float16')}
    assert all(np.isfinite(array).all() for array in heads.values())
    assert sum(f.stat().st_size for f in SHIPPED.rglob('*') if f.is_file()) < LARGEST_MB * 1e6


def test_the_whole_is_a_model_that_is_loaded_strictly(made_backbone):
    said = []
    folder = table.prepare(report=said.append)
    assert folder == table.folder()
    model = checkpoint.load(folder)
    assert model.config.teachers == ('depth', 'classes')
    assert model.config.layer_norm_eps == 1e-6
    key = 'translator.translator_heads.simulator/depth.adapter.8.weight'
    stored = load_file(SHIPPED / 'heads.safetensors')[key].astype(np.float32)
    assert (checkpoint.tensors_of(model)[key].numpy() == stored).all()
    assert said[-1] == f'{table.NAME}: ready in {folder}'


def test_it_is_made_once_and_again_when_a_part_is_another(made_backbone, monkeypatch, tmp_path):
    folder = table.prepare(report=lambda line: None)
    before = (folder / 'model.safetensors').stat().st_mtime_ns
    table.prepare(report=lambda line: None)
    assert (folder / 'model.safetensors').stat().st_mtime_ns == before
    assert len(made_backbone) == 1
    other = Path(shutil.copytree(SHIPPED, tmp_path / 'other'))
    config = json.loads((other / 'config.json').read_text()) | {'description': 'another'}
    (other / 'config.json').write_text(json.dumps(config))
    monkeypatch.setattr(table, 'shipped', lambda: other)
    table.prepare(report=lambda line: None)
    assert json.loads((folder / 'config.json').read_text())['description'] == 'another'
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith('.')] == []


def test_a_copy_without_the_heads_is_told(monkeypatch):
    monkeypatch.setattr(table, 'NAME', 'nowhere')
    with pytest.raises(WeightsError, match='use a whole copy of the repository'):
        table.shipped()


@pytest.mark.needs_ros
@pytest.mark.parametrize(
    ('given', 'model', 'video'),
    [
        ({}, 'table', 'clip'),
        ({'video': 'mine.mp4'}, 'backbone', 'mine.mp4'),
        ({'device': 0}, 'backbone', None),
        ({'model': 'my_model'}, 'my_model', None),
        ({'model': table.NAME, 'video': 'mine.mp4'}, 'table', 'mine.mp4'),
    ],
    ids=str,
)
def test_what_was_learned_from_the_table_is_shown_on_the_table(
    given, model, video, made_backbone, monkeypatch, capsys
):
    from theia_ros.demo import __main__ as demo
    from theia_ros.demo.sources import CLIP

    monkeypatch.setattr(demo.table, 'prepare', lambda report: Path('/the/table'))
    args = argparse.Namespace(**{'model': None, 'video': None, 'device': None, **given})
    demo.choose_model(args)
    expected = {'table': '/the/table', 'backbone': 'demo-dinov2-small'}
    assert args.model == expected.get(model, model)
    assert args.video == (str(CLIP) if video == 'clip' else video)
    told = 'its maps hold nowhere else' in capsys.readouterr().out
    assert told == (len(given) == 2)


def test_the_catalogue_offers_only_what_fetch_brings():
    assert table.NAME not in MODELS
