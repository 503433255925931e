"""More is tested where files are read: in test_checkpoint.py and test_sam.py."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from theia_ros.errors import WeightsError
from theia_ros.tensor_file import read_tensors

SHAPES = {'a.weight': (2, 3), 'b.bias': (3,)}


@pytest.fixture
def path(tmp_path):
    save_file({'a.weight': torch.ones(2, 3), 'b.bias': torch.zeros(3)}, tmp_path / 'file')
    return tmp_path / 'file'


def test_exactly_the_expected_tensors_are_read(path):
    tensors = read_tensors(path, SHAPES, 'the test')
    assert {key: tuple(t.shape) for key, t in tensors.items()} == SHAPES


def test_other_precisions_become_float32(path):
    save_file({'a.weight': torch.ones(2, 3).bfloat16(), 'b.bias': torch.zeros(3).double()}, path)
    assert {t.dtype for t in read_tensors(path, SHAPES, 'the test').values()} == {torch.float32}


def test_missing_and_unexpected_are_told_in_one_line(path):
    with pytest.raises(WeightsError) as caught:
        read_tensors(path, {'a.weight': (2, 3), 'c': (1,), 'd': (1,)}, 'the test')
    assert str(caught.value) == (
        f'{path} does not fit the test: 3 tensors expected, 2 missing (first: c), '
        '1 unexpected (first: b.bias)'
    )


def published_key(key):
    return key.replace('copy.', '')


@pytest.mark.parametrize(
    ('copy', 'fits'),
    [
        pytest.param(torch.zeros(3), True, id='same'),
        pytest.param(torch.ones(3), False, id='values'),
        pytest.param(torch.zeros(4), False, id='shape'),
        pytest.param(torch.zeros(3).half(), False, id='precision'),
    ],
)
def test_two_names_of_one_tensor_must_agree(path, copy, fits):
    save_file({'a.weight': torch.ones(2, 3), 'b.bias': torch.zeros(3), 'copy.b.bias': copy}, path)
    if fits:
        assert set(read_tensors(path, SHAPES, 'the test', published_key)) == set(SHAPES)
    else:
        with pytest.raises(WeightsError, match=r'b\.bias is there twice, and the two differ'):
            read_tensors(path, SHAPES, 'the test', published_key)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(WeightsError, match='gone does not exist'):
        read_tensors(tmp_path / 'gone', SHAPES, 'the test')
    (tmp_path / 'text').write_text('no tensors here, just text')
    with pytest.raises(WeightsError, match='text is no whole safetensors file'):
        read_tensors(tmp_path / 'text', SHAPES, 'the test')
