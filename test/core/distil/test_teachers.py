from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import synthetic

from theia_ros import checkpoint
from theia_ros.distil import teachers
from theia_ros.distil.data import Data
from theia_ros.distil.data import Pictures
from theia_ros.distil.data import prepare
from theia_ros.distil.sources import Reading
from theia_ros.distil.teachers import ClassTruth
from theia_ros.distil.teachers import collect
from theia_ros.distil.teachers import DepthTruth
from theia_ros.distil.teachers import FrozenBackbone
from theia_ros.distil.teachers import key_of
from theia_ros.distil.teachers import open_teacher
from theia_ros.engine.source import Source
from theia_ros.errors import ParameterError

CPU = torch.device('cpu')


class Counting:
    """Says the mean colour of each picture, and counts whom it was asked about."""

    name, dtype, batch, shape = 'clip', torch.bfloat16, 2, (4, 3)

    def __init__(self, identity: str = 'one', fail_after: int = 1000) -> None:
        self.identity, self.asked, self._fail_after = identity, 0, fail_after

    def targets(self, pictures: Pictures) -> torch.Tensor:
        if self.asked >= self._fail_after:
            raise KeyboardInterrupt
        self.asked += len(pictures.pixels)
        return pictures.pixels.float().mean(dim=(1, 2))[:, None].repeat(1, 4, 1)


@pytest.fixture
def data(photos: Path, tmp_path: Path, silent, monkeypatch) -> Data:
    for module in ('data', 'teachers'):
        monkeypatch.setattr(f'theia_ros.distil.{module}.SHARD', 2)
    return prepare([photos], [], Reading(), tmp_path / 'cache', silent)


def test_targets_come_in_the_order_asked_for(data, tmp_path, silent) -> None:
    targets = collect(Counting(), data, tmp_path, silent)
    expected = data.pictures([4, 1]).pixels.float().mean(dim=(1, 2))
    rows = targets.rows([4, 1])
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows[:, 0], expected.bfloat16().float(), rtol=0, atol=0)


def test_what_was_said_is_not_asked_again(data, tmp_path, silent) -> None:
    collect(Counting(), data, tmp_path, silent)
    again = Counting()
    collect(again, data, tmp_path, silent)
    assert again.asked == 0
    other = Counting('another')
    collect(other, data, tmp_path, silent)
    assert other.asked == 6


def test_after_a_stop_only_the_rest_is_asked(data, tmp_path, silent) -> None:
    with pytest.raises(KeyboardInterrupt):
        collect(Counting(fail_after=4), data, tmp_path, silent)
    rest = Counting()
    targets = collect(rest, data, tmp_path, silent)
    assert rest.asked == 2
    whole = collect(Counting(), data, tmp_path / 'fresh', silent)
    assert torch.equal(targets.rows(range(6)), whole.rows(range(6)))


def test_a_damaged_file_is_asked_for_again(data, tmp_path, silent) -> None:
    first = collect(Counting(), data, tmp_path, silent)
    expected = first.rows(range(6))
    path = tmp_path / key_of(Counting(), data) / '000001.safetensors'
    path.write_bytes(path.read_bytes()[:50])
    again = Counting()
    found = collect(again, data, tmp_path, silent)
    assert again.asked == 2
    assert torch.equal(found.rows(range(6)), expected)


def test_the_truth_of_depth_is_its_logarithm() -> None:
    depth_m = torch.full((1, 64, 64), 2.0)
    depth_m[0, 0, 1] = 0
    tokens = DepthTruth().targets(Pictures(torch.empty(0), depth_m, torch.empty(0)))
    assert tokens.shape == (1, 256, 16)
    assert tokens[0, 0, 0] == pytest.approx(np.log(2))
    assert tokens[0, 0, 1].isnan()
    assert tokens.isnan().sum() == 1


def test_the_truth_of_classes_knows_its_limit() -> None:
    labels = torch.full((1, 64, 64), 255, dtype=torch.uint8)
    labels[0, 63, 63] = 31
    tokens = ClassTruth().targets(Pictures(torch.empty(0), torch.empty(0), labels))
    assert (tokens.dtype, tokens[0, 255, 15].item()) == (torch.uint8, 31)
    labels[0, 0, 0] = 32
    with pytest.raises(ParameterError, match='a truth has class 32; a head tells 32 apart'):
        ClassTruth().targets(Pictures(torch.empty(0), torch.empty(0), labels))


def test_a_frozen_backbone_says_what_the_model_would(tiny_folder: Path) -> None:
    pixels = torch.from_numpy(synthetic.golden_rule.image('noise_224'))[None]
    frozen = FrozenBackbone(Source(str(tiny_folder)), CPU)
    assert frozen.shape == (196, 192)
    with torch.inference_mode():
        tokens = frozen.targets(Pictures(pixels, torch.empty(0), torch.empty(0)))
        model = checkpoint.load(tiny_folder)
        assert torch.equal(model.imitate(tokens, ['sam'])['sam'], model(pixels, ['sam'])['sam'])
    golden = synthetic.goldens('tiny_encoder')['tokens/noise_224'][1:]
    np.testing.assert_allclose(tokens[0].numpy(), golden, rtol=0, atol=1e-5)


def test_the_truth_has_no_folder() -> None:
    with pytest.raises(ParameterError, match='--teachers depth=x: the truth lies beside'):
        open_teacher('depth', 'x', CPU)


def test_the_other_teachers_are_found() -> None:
    assert isinstance(open_teacher('classes', '', CPU), ClassTruth)
    for name in ('dinov2_small', 'clip', 'sam'):
        assert open_teacher(name, '', CPU).name == name
    assert teachers.SHARD % 16 == 0
