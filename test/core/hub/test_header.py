import json

import numpy as np
import pytest
from helpers.hub_server import weights
from safetensors.numpy import load
from safetensors.numpy import save

from theia_ros.errors import WeightsError
from theia_ros.hub import header


def make(described, data=b'\0' * 16):
    """A file with this header, right or wrong."""
    text = described if isinstance(described, bytes) else json.dumps(described).encode()
    return len(text).to_bytes(8, 'little') + text + data


def tensor(begin=0, end=16, dtype='F32', shape=(4,)):
    return {'dtype': dtype, 'shape': list(shape), 'data_offsets': [begin, end]}


def parse(file):
    length = header.header_bytes(file[:8], len(file))
    return header.parse(file[8 : 8 + length], len(file))


def test_offsets_are_those_of_the_file():
    file = weights(tensors=2, rows=2, columns=3)
    entries = parse(file)
    assert {name: entry.shape for name, entry in entries.items()} == {
        'layer.0.weight': (2, 3),
        'layer.1.weight': (2, 3),
    }
    entry = entries['layer.1.weight']
    stored = np.frombuffer(file[entry.begin : entry.end], np.float32).reshape(2, 3)
    np.testing.assert_array_equal(stored, load(file)['layer.1.weight'])
    assert header.numbers(entries) == 12


@pytest.mark.parametrize(
    ('file', 'message'),
    [
        pytest.param(b'', 'claims a header of 0 bytes', id='empty'),
        pytest.param(b'\x02\0\0', 'claims a header of 2 bytes', id='three-bytes'),
        pytest.param(
            (1 << 62).to_bytes(8, 'little') + b'{}',
            'claims a header of 4611686018427387904 bytes; expected 2 to 2 in a file of 10',
            id='huge-length',
        ),
        pytest.param(b'<!DOCTYPE html><html>', 'no safetensors file', id='a-page'),
        pytest.param(make(b'{"a": '), 'its header is not JSON', id='cut-json'),
        pytest.param(make(b'\xff\xfe{}'), 'its header is not JSON', id='not-utf-8'),
        pytest.param(make(b'[' * 100_000), 'its header is not JSON', id='deep-json'),
        pytest.param(make([1]), 'no JSON object', id='a-list'),
        pytest.param(make({'a': 3}), 'a needs dtype, shape and data_offsets', id='a-number'),
        pytest.param(
            make({'a': {'dtype': 'F32', 'shape': [4]}}), 'a needs dtype', id='no-offsets'
        ),
        pytest.param(make({'a': tensor(dtype='F31')}), "unknown dtype 'F31'", id='dtype'),
        pytest.param(make({'a': tensor(dtype=['F32'])}), 'unknown dtype', id='dtype-a-list'),
        pytest.param(make({'a': tensor(shape=(-2, -2))}), 'has shape', id='negative-shape'),
        pytest.param(make({'a': tensor(shape=(4.0,))}), 'has shape', id='float-shape'),
        pytest.param(make({'a': tensor(shape=(True,))}), 'has shape', id='bool-shape'),
        pytest.param(
            make({'a': tensor(shape=(5,))}),
            r'a has 16 bytes; expected 20 for F32 \[5\]',
            id='shape-does-not-fit',
        ),
        pytest.param(
            make({'a': tensor(0, 32, shape=(8,))}), 'a ends at byte .* of ', id='outside'
        ),
        pytest.param(make({'a': tensor(-16, 0)}), 'has shape', id='before-the-file'),
        pytest.param(
            make({'a': tensor(), 'b': tensor()}), 'b starts at byte', id='two-in-one-place'
        ),
        pytest.param(make({'a': tensor(8, 16, shape=(2,))}), 'a starts at byte', id='hole'),
        pytest.param(make({'a': tensor(0, 8, shape=(2,))}), 'tensors end at byte', id='rest'),
    ],
)
def test_lies_are_told_apart(file, message):
    with pytest.raises(WeightsError, match=message) as caught:
        parse(file)
    assert '\n' not in str(caught.value)


def test_file_is_read_by_its_header(tmp_path):
    path = tmp_path / 'a.safetensors'
    path.write_bytes(weights(tensors=3, rows=1, columns=2))
    assert list(header.read(path)) == ['layer.0.weight', 'layer.1.weight', 'layer.2.weight']
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match=r'layer\.2\.weight ends at byte'):
        header.read(path)


def test_cut_gives_a_file_of_the_wanted_tensors_alone():
    arrays = {
        'encoder.bulk': np.zeros((64, 64), np.float32),
        'head.bias': np.array([1.5], np.float16),
        'head.weight': np.arange(6, dtype=np.float32).reshape(2, 3),
        'heads.other': np.ones(3, np.float32),
    }
    file = save(arrays)
    entries = header.select(parse(file), ('head.',))
    prefix, ranges = header.cut(entries)
    small = prefix + b''.join(file[begin:end] for begin, end in ranges)
    loaded = load(small)
    assert set(loaded) == {'head.bias', 'head.weight'}
    for name, array in loaded.items():
        assert array.dtype == arrays[name].dtype
        np.testing.assert_array_equal(array, arrays[name])
    assert len(prefix) % 8 == 0
    assert parse(small).keys() == loaded.keys()


def test_neighbours_are_one_range():
    entries = parse(weights(tensors=5, rows=1, columns=2))
    names = list(entries)
    three = {name: entries[name] for name in (names[0], names[1], names[4])}
    first, _, last = three.values()
    assert header.cut(three)[1] == (
        (first.begin, first.begin + 16),
        (last.begin, last.end),
    )


@pytest.mark.parametrize('wanted', ['head.', 'layer.0', 'layer.0.weigh', 'layer.1.weight.'])
def test_missing_tensor_is_named(wanted):
    entries = parse(weights(tensors=2, rows=1, columns=1))
    with pytest.raises(WeightsError, match=f'no tensor {wanted} among the 2'):
        header.select(entries, ('layer.0.weight', wanted))
