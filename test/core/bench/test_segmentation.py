from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers import synthetic

from theia_ros.bench import segmentation
from theia_ros.cli import main
from theia_ros.decoders.masks import Masks
from theia_ros.errors import ParameterError
from theia_ros.params import EncoderParams


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = synthetic.write_model(tmp_path / 'model', teachers=('sam',))
    synthetic.write_statistics(folder)
    synthetic.write_decoder_parts(folder)
    return folder


def test_both_orders_find_the_same_and_are_timed(folder: Path) -> None:
    # Synthetic weights find nothing worth keeping at the usual thresholds.
    params = EncoderParams(
        model=str(folder),
        backend='torch',
        segmentation_points_per_side=2,
        segmentation_iou_threshold=0.0,
        segmentation_stability_threshold=0.0,
    )
    found = segmentation.run(params, (48, 64), rounds=1)
    assert (found['points'], found['kind']) == (4, 'segmentation')
    assert found['masks'] == found['masks_compared'] > 0
    assert found['pixels_that_differ'] <= segmentation.LARGEST_DIFFERENCE
    times = found['ms_per_point']
    assert set(times) == {'naive', 'ours'}
    assert found['ratio'] == pytest.approx(times['naive'] / times['ours'])


def masks(*rows: list[bool]) -> Masks:
    pixels = torch.tensor(rows)[:, None]
    return Masks(pixels, torch.ones(len(rows)), torch.zeros(len(rows), 4, dtype=torch.long))


def test_orders_that_disagree_are_not_timed() -> None:
    one, other = masks([True, False]), masks([True, True])
    assert segmentation._difference(one, one) == 0
    with pytest.raises(ParameterError, match=r'differ in 50\.0% of the pixels'):
        segmentation._difference(one, other)
    with pytest.raises(ParameterError, match='find 1 and 2 masks'):
        segmentation._difference(one, masks([True, False], [True, True]))


def test_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / 'out.json'
    arguments = ['bench', '--segmentation', '--model', str(folder), '--json', str(out)]
    assert main([*arguments, '--rounds', '1', '--image-size', '64x48']) == 0
    assert '36 points' in capsys.readouterr().out
    assert json.loads(out.read_text())['points'] == 36


def test_a_model_that_cannot_segment_is_told(tmp_path: Path, capsys) -> None:
    model = synthetic.write_model(tmp_path / 'model', teachers=())
    assert main(['bench', '--segmentation', '--model', str(model)]) == 2
    assert 'cannot segment: it needs the head sam' in capsys.readouterr().err
