from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from theia_ros.bench.baseline import Baseline
from theia_ros.bench.contenders import Contender
from theia_ros.bench.contenders import open_contender
from theia_ros.bench.equality import check
from theia_ros.bench.equality import Distance
from theia_ros.bench.equality import distance
from theia_ros.bench.equality import verdict
from theia_ros.bench.pictures import make_frames
from theia_ros.params import EncoderParams

FRAMES = make_frames(2, (32, 48))


def test_distance_of_known_tokens() -> None:
    expected = np.array([[3.0, 4.0], [0.0, 2.0]], np.float32)
    found = np.array([[3.0, 4.0], [2.0, 0.0]], np.float32)
    assert distance(expected, expected) == Distance(1.0, 0.0, 0.0)
    measured = distance(found, expected)
    assert measured.cosine == 0.0
    assert measured.relative_error == pytest.approx(math.sqrt(8 / 29))
    assert measured.max_abs_error == 2.0


@pytest.mark.parametrize(
    ('found', 'precision', 'says'),
    [
        pytest.param(Distance(1, 9e-5, 9), 'fp32', '', id='fp32'),
        pytest.param(Distance(1, 2e-4, 0), 'fp32', 'relative error 2.0e-04', id='fp32 far'),
        pytest.param(Distance(1, 2e-4, 0), 'fp16', '', id='fp16'),
        pytest.param(Distance(1, 0.011, 0), 'bf16', 'relative error 1.1e-02', id='bf16 far'),
        pytest.param(Distance(0.998, 0, 0), 'bf16', 'cosine of a token 0.99800', id='one token'),
        pytest.param(Distance(math.nan, math.nan, math.nan), 'fp16', 'nan', id='not a number'),
    ],
)
def test_verdict(found, precision, says) -> None:
    said = verdict(found, precision)
    assert says in said if says else not said


CHANGES = {
    'scaled': lambda name, tensor: tensor * 1.001,
    'one token lost': lambda name, tensor: tensor * (torch.arange(tensor.shape[1]) != 5)[:, None],
    'shifted rows': lambda name, tensor: tensor.roll(1, 1),
    'not a number': lambda name, tensor: tensor * float('nan'),
    'infinite': lambda name, tensor: tensor / 0,
    'one head only': lambda name, tensor: tensor * (1.01 if name == 'clip' else 1),
}


@pytest.fixture(scope='module')
def expected(params) -> list:
    found, _ = Baseline(params).run(FRAMES, ['theia', 'clip'])
    return found


def checked(params: EncoderParams, expected: list) -> tuple[str, Contender]:
    """Return what the comparison of a contender with the baseline says."""
    contender = open_contender(params)
    said = check(contender, expected, FRAMES, ['theia', 'clip'])
    contender.close()
    return said, contender


def test_right_numbers_are_equal(params, expected) -> None:
    said, contender = checked(params, expected)
    assert said == ''
    assert set(contender.errors) == {'theia', 'clip'}


@pytest.mark.parametrize('change', CHANGES)
def test_wrong_numbers_are_refused(change, spoil, params, expected) -> None:
    spoil(CHANGES[change])
    said, _ = checked(params, expected)
    tensor = 'clip' if change == 'one head only' else 'theia'
    assert said.startswith(f'{tensor}, batch 2: ')


def test_another_shape_is_refused(spoil, params, expected) -> None:
    spoil(lambda name, tensor: tensor[:, :-1])
    said, _ = checked(params, expected)
    assert said == 'theia is (2, 195, 192), not (2, 196, 192)'


def test_the_worst_of_all_checks_is_kept(params, expected) -> None:
    contender = open_contender(params)
    contender.errors['theia'] = {'cosine': 0.5, 'relative_error': 0.25, 'max_abs_error': math.nan}
    check(contender, expected, FRAMES, ['theia', 'clip'])
    kept = contender.errors['theia']
    assert (kept['cosine'], kept['relative_error']) == (0.5, 0.25)
    assert math.isnan(kept['max_abs_error'])
    contender.close()
