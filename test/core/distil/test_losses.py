from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import synthetic

from theia_ros import checkpoint
from theia_ros.distil.losses import class_losses
from theia_ros.distil.losses import depth_losses
from theia_ros.distil.losses import losses_of
from theia_ros.distil.losses import total
from theia_ros.preprocess import prepare

GOLDEN = synthetic.goldens('decoders')
RULE = synthetic.golden_rule


@pytest.fixture(scope='module')
def losses(tiny_folder: Path):
    """Of the tiny model on the goldens' picture, by teacher in the published order."""
    model = checkpoint.load(tiny_folder)
    pixels = torch.from_numpy(prepare([RULE.image('noise_224')], 'official'))
    with torch.inference_mode():
        predicted = model(pixels, model.config.teachers)
        found = {}
        for name, key in synthetic.KEYS.items():
            target = RULE.target(key, *predicted[name].shape[1:])
            found[name] = losses_of(name, predicted[name], torch.from_numpy(target))
    return found


@pytest.mark.parametrize('kind', ['mse', 'cos', 'l1'])
def test_each_loss_is_that_of_the_published_code(losses, kind: str) -> None:
    found = [float(of_teacher[kind]) for of_teacher in losses.values()]
    np.testing.assert_allclose(found, GOLDEN[f'loss/{kind}_per_teacher'], rtol=0, atol=1e-5)
    assert np.mean(found) == pytest.approx(float(GOLDEN[f'loss/{kind}']), abs=1e-5)


def test_what_is_minimised_is_that_of_the_published_code(losses) -> None:
    assert float(total(losses, 'cos_l1')) == pytest.approx(
        float(GOLDEN['loss/main_cos_l1']), abs=1e-5
    )
    assert float(total(losses, 'mse')) == pytest.approx(float(GOLDEN['loss/mse']), abs=1e-5)


def test_unknown_depth_costs_nothing_and_teaches_nothing() -> None:
    predicted = torch.tensor([[[0.5, 7.0]]], requires_grad=True)
    target = torch.tensor([[[1.0, float('nan')]]])
    loss = depth_losses(predicted, target)['l1']
    assert float(loss.detach()) == pytest.approx(0.5 * 0.5**2)  # of one cell, not of two
    loss.backward()
    assert predicted.grad.flatten().tolist() == [-0.5, 0.0]
    nothing = depth_losses(predicted.detach(), torch.full((1, 1, 2), torch.nan))
    assert float(nothing['l1']) == 0


def test_unknown_classes_cost_nothing() -> None:
    predicted = torch.zeros(1, 1, 512)
    predicted[0, 0, 16 * 5] = 100  # sure of class 5 in the first part
    target = torch.full((1, 1, 16), 255, dtype=torch.uint8)
    assert float(class_losses(predicted, target)['ce']) == 0
    target[0, 0, 0] = 5
    assert float(class_losses(predicted, target)['ce']) == pytest.approx(0, abs=1e-6)
    target[0, 0, 1] = 2  # all 32 classes are alike there
    assert float(class_losses(predicted, target)['ce']) == pytest.approx(np.log(32) / 2, rel=1e-5)


def test_half_precision_is_judged_in_full() -> None:
    predicted = torch.full((1, 4, 8), 100.0, dtype=torch.float16)
    found = losses_of('clip', predicted, torch.zeros(1, 4, 8))
    assert found['mse'].dtype == torch.float32
    assert float(found['mse']) == 10000
