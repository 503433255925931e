"""A received tensor as arrays."""

from __future__ import annotations

import array
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.feature_messages import BFLOAT16
from helpers.feature_messages import feature_tensor
from helpers.feature_messages import FLOAT32

from theia_ros.client import view_of
from theia_ros.datatypes import Region
from theia_ros.errors import FeatureError
from theia_ros.errors import MalformedError

# Two rows and three columns, four channels; no two numbers are alike.
TOKENS = np.arange(24, dtype=np.float32).reshape(6, 4)
BFLOAT_BITS = np.array([[0x3F80, 0xC020], [0x7F80, 0x0001]], np.uint16)
BFLOAT_VALUES = np.array([[1.0, -2.5], [np.inf, 2.0**-133]], np.float32)


def test_fields_are_those_of_the_message() -> None:
    region = SimpleNamespace(x_offset=1, y_offset=2, width=30, height=40)
    msg = feature_tensor(TOKENS, 12_000_000_034, (2, 3), region=region)
    view = view_of(msg, received_ns=12_500_000_034)
    assert (view.name, view.model, view.provenance) == ('theia', 'tiny', msg.provenance)
    assert (view.dtype, view.shape, view.grid_hw) == ('float32', (6, 4), (2, 3))
    assert view.region == Region(1, 2, 30, 40)
    assert (view.stamp_ns, view.frame_id) == (12_000_000_034, 'optical')
    assert view.latency_s == 0.5


@pytest.mark.parametrize('dtype', ['float32', 'float16'])
def test_tokens_are_the_message_s_own_memory(dtype: str) -> None:
    msg = feature_tensor(TOKENS.astype(dtype), grid_hw=(2, 3))
    view = view_of(msg)
    assert view.tokens.dtype == dtype
    np.testing.assert_array_equal(view.tokens, TOKENS)
    assert np.shares_memory(view.tokens, np.frombuffer(msg.data, np.uint8))
    view.tokens[0, 0] = 99
    assert view_of(msg).tokens[0, 0] == 99


def test_a_map_has_rows_before_columns_and_shares_memory() -> None:
    view = view_of(feature_tensor(TOKENS, grid_hw=(2, 3)))
    found = view.as_map()
    assert found.shape == (4, 2, 3)
    # Channel 1 of row 1, column 2: the sixth token's second number.
    assert found[1, 1, 2] == TOKENS[5, 1]
    assert np.shares_memory(found, view.tokens)


def test_pooled_features_have_no_map() -> None:
    view = view_of(feature_tensor(TOKENS[:1]))
    with pytest.raises(FeatureError, match='the 1 tokens of theia lie on no grid'):
        view.as_map()


def test_float32_of_float32_is_itself() -> None:
    view = view_of(feature_tensor(TOKENS))
    assert view.float32() is view


def test_float32_of_float16_loses_nothing() -> None:
    values = np.array([[1.5, -65504.0, np.inf, 2.0**-24]], np.float16)
    found = view_of(feature_tensor(values)).float32()
    assert found.tokens.dtype == np.float32
    np.testing.assert_array_equal(found.tokens, values)


def test_bfloat16_comes_as_float32_on_request() -> None:
    view = view_of(feature_tensor(BFLOAT_BITS, grid_hw=(1, 2)))
    assert view.dtype == 'bfloat16'
    np.testing.assert_array_equal(view.float32().tokens, BFLOAT_VALUES)
    np.testing.assert_array_equal(view.float32().as_map()[:, 0, 1], BFLOAT_VALUES[1])


@pytest.mark.parametrize('ask', [lambda v: v.tokens, lambda v: v.as_map()], ids=['tokens', 'map'])
def test_bfloat16_has_no_numpy_view(ask) -> None:
    view = view_of(feature_tensor(BFLOAT_BITS, grid_hw=(1, 2)))
    with pytest.raises(FeatureError, match=r'theia came as bfloat16.*float32\(\) or torch\(\)'):
        ask(view)


def test_torch_is_the_message_s_own_memory() -> None:
    view = view_of(feature_tensor(TOKENS))
    tensor = view.torch()
    assert str(tensor.dtype) == 'torch.float32'
    tensor[0, 0] = 99
    assert view.tokens[0, 0] == 99


def test_torch_knows_bfloat16() -> None:
    tensor = view_of(feature_tensor(BFLOAT_BITS)).torch()
    assert str(tensor.dtype) == 'torch.bfloat16'
    np.testing.assert_array_equal(tensor.float().numpy(), BFLOAT_VALUES)


def test_torch_of_what_may_not_be_written_to_is_a_copy() -> None:
    view = view_of(feature_tensor(TOKENS, data=TOKENS.tobytes()))
    view.torch()[0, 0] = 99
    assert view.tokens[0, 0] == 0


def test_nothing_else_needs_torch() -> None:
    code = (
        'import sys, numpy as np; sys.path.insert(0, sys.argv[1])\n'
        'from helpers.feature_messages import feature_tensor\n'
        'from theia_ros.client import view_of\n'
        'view = view_of(feature_tensor(np.ones((6, 4), np.float16), grid_hw=(2, 3)))\n'
        'view.tokens, view.as_map(), view.float32().as_map()\n'
        'print("torch" in sys.modules)'
    )
    test = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, '-c', code, test], capture_output=True, text=True)
    assert done.stdout == 'False\n', done.stderr


def test_messages_of_a_bag_have_arrays_for_sequences() -> None:
    msg = feature_tensor(
        TOKENS,
        shape=np.array([6, 4], np.uint32),
        data=np.frombuffer(TOKENS.tobytes(), np.uint8),
        grid_height=np.uint32(2),
        grid_width=np.uint32(3),
    )
    np.testing.assert_array_equal(view_of(msg).as_map()[:, 1, 0], TOKENS[3])


# A picture of 320x240, of which the grid covers 280x210 in the middle: cells of 93.3 by 105.
INNER = SimpleNamespace(x_offset=20, y_offset=15, width=280, height=210)


@pytest.mark.parametrize(
    ('pixel', 'token'),
    [
        pytest.param((20, 15), 0, id='upper left corner'),
        pytest.param((113, 15), 0, id='last column of the first cell'),
        pytest.param((114, 15), 1, id='first of the second'),
        pytest.param((299, 119), 2, id='upper right cell'),
        pytest.param((20, 120), 3, id='second row'),
        pytest.param((299, 224), 5, id='lower right corner'),
    ],
)
def test_token_at_a_pixel(pixel: tuple[int, int], token: int) -> None:
    view = view_of(feature_tensor(TOKENS, grid_hw=(2, 3), region=INNER))
    assert view.token_at(*pixel) == token


@pytest.mark.parametrize('pixel', [(19, 100), (300, 100), (100, 14), (100, 225)])
def test_no_token_outside_of_the_grid(pixel: tuple[int, int]) -> None:
    view = view_of(feature_tensor(TOKENS, grid_hw=(2, 3), region=INNER))
    with pytest.raises(FeatureError, match=r'outside of the grid of theia, which covers 280x210'):
        view.token_at(*pixel)


def test_no_token_where_the_place_is_not_known() -> None:
    with pytest.raises(FeatureError, match='does not tell which pixels its grid covers'):
        view_of(feature_tensor(TOKENS, grid_hw=(2, 3))).token_at(0, 0)


@pytest.mark.parametrize(
    ('changes', 'reason', 'message'),
    [
        pytest.param(
            {'dtype': 7},
            'dtype',
            r'dtype is 7; expected one of 1 \(float32\), 2 \(float16\), 3 \(bfloat16\)',
            id='unknown dtype',
        ),
        pytest.param({'dtype': 2}, 'size', r'96 bytes; float16 .*\[6, 4\] has 48', id='float16'),
        pytest.param({'dtype': BFLOAT16}, 'size', 'bfloat16 of shape', id='bfloat16 of 4 bytes'),
        pytest.param({'data': array.array('B')}, 'size', 'data has 0 bytes', id='no data'),
        pytest.param({'data': array.array('B', bytes(95))}, 'size', '95 bytes', id='short'),
        pytest.param({'shape': [6, 5]}, 'size', r'float32 of shape \[6, 5\] has 120', id='shape'),
        pytest.param({'shape': [24]}, 'shape', 'shape has 1 axes; expected', id='one axis'),
        pytest.param({'shape': [1, 6, 4]}, 'shape', 'shape has 3 axes', id='three axes'),
        pytest.param({'shape': []}, 'shape', 'shape has 0 axes', id='no axis'),
        pytest.param({'shape': [0, 4]}, 'shape', r'shape is \[0, 4\]', id='no token'),
        pytest.param(
            {'shape': [2**32 - 1, 2**32 - 1]}, 'size', 'data has 96 bytes', id='enormous'
        ),
        pytest.param(
            {'grid_height': 2, 'grid_width': 2},
            'grid',
            '2x2 cells, the tensor 6 tokens',
            id='grid',
        ),
        pytest.param({'grid_height': 2}, 'grid', '2x0 cells', id='half a grid'),
    ],
)
def test_malformed(changes: dict[str, object], reason: str, message: str) -> None:
    with pytest.raises(MalformedError, match=message) as caught:
        view_of(feature_tensor(TOKENS, dtype=changes.pop('dtype', FLOAT32), **changes))
    assert caught.value.reason == reason
    assert '\n' not in str(caught.value)
