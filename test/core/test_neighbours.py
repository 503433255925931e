"""Layouts of other packages, with classes that are made of their definitions."""

from __future__ import annotations

import array
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.feature_messages import feature_tensor
from rosbags.typesys import get_types_from_msg
from rosbags.typesys import get_typestore
from rosbags.typesys import Stores

from theia_ros import neighbours
from theia_ros.errors import MalformedError
from theia_ros.errors import ParameterError

TOKENS = np.arange(24, dtype=np.float32).reshape(6, 4) / 4
BFLOAT_BITS = np.array([[0x3F80, 0xC020], [0x4100, 0x0000]], np.uint16)
BFLOAT_VALUES = [[1.0, -2.5], [8.0, 0.0]]
GRID = (2, 3)

# As the packages define them, without their comments.
DEFINITIONS = {
    'isaac_ros_tensor_list_interfaces/msg/TensorShape': 'uint8 rank\nuint32[] dims',
    'isaac_ros_tensor_list_interfaces/msg/Tensor': """
        string name
        TensorShape shape
        int32 data_type
        uint64[] strides
        uint8[] data""",
    'isaac_ros_tensor_list_interfaces/msg/TensorList': 'std_msgs/Header header\nTensor[] tensors',
    'isaac_ros_tensor_msgs/msg/TensorList': """
        std_msgs/Header header
        string[] names
        tensor_msgs/ExperimentalTensor[] tensors""",
    'tensor_msgs/msg/ExperimentalTensor': """
        uint8  dtype_code
        uint8  dtype_bits
        uint16 dtype_lanes
        int64[]  shape
        int64[]  strides
        uint64   byte_offset
        uint8[] data""",
}


@pytest.fixture(scope='module')
def store():
    store = get_typestore(Stores.ROS2_JAZZY)
    for name, text in DEFINITIONS.items():
        store.register(get_types_from_msg(text, name))
    return store


def package(store, name: str) -> SimpleNamespace:
    """Return the classes of a package, which take sequences of numbers as those of ROS do."""

    def maker(kind):
        types = {field: description[1] for field, description in store.fielddefs[kind][1]}

        def make(**fields):
            for key, value in fields.items():
                numbers = isinstance(value, list) and value and isinstance(value[0], int)
                if numbers or isinstance(value, array.array):
                    (_, (base, _)), _ = types[key]
                    fields[key] = np.array(value, base)
            return store.types[kind](**fields)

        return make

    kinds = [kind for kind in store.types if kind.startswith(f'{name}/msg/')]
    return SimpleNamespace(**{kind.rpartition('/')[2]: maker(kind) for kind in kinds})


def sent(store, msg, kind: str):
    """Return a message as a subscriber gets it."""
    return store.deserialize_cdr(store.serialize_cdr(msg, kind), kind)


@pytest.fixture
def header(store):
    stamp = store.types['builtin_interfaces/msg/Time'](12, 34)
    return store.types['std_msgs/msg/Header'](stamp=stamp, frame_id='optical')


# --- isaac_ros_tensor_list_interfaces ------------------------------------------------------------

ISAAC = 'isaac_ros_tensor_list_interfaces'


@pytest.mark.parametrize('dtype', ['float32', 'float16'])
def test_isaac_there_and_back(store, header, dtype: str) -> None:
    features = {
        'front': feature_tensor(TOKENS.astype(dtype), grid_hw=GRID, header=header),
        'wrist': feature_tensor(TOKENS[:1].astype(dtype) + 1),
    }
    made = neighbours.to_isaac(features, package(store, ISAAC))
    found = sent(store, made, f'{ISAAC}/msg/TensorList')
    assert (found.header.stamp.sec, found.header.frame_id) == (12, 'optical')
    front = found.tensors[0]
    assert (front.name, front.shape.rank, front.data_type) == ('front', 2, 9)
    assert front.shape.dims.tolist() == [6, 4]
    assert front.strides.tolist() == [16, 4]
    arrays = neighbours.arrays_of_isaac(found)
    assert list(arrays) == ['front', 'wrist']
    np.testing.assert_array_equal(arrays['front'], TOKENS)
    np.testing.assert_array_equal(arrays['wrist'], TOKENS[:1] + 1)
    assert np.shares_memory(arrays['front'], front.data)


def isaac_tensor(**changes: object) -> SimpleNamespace:
    fields = {
        'name': 'x',
        'shape': SimpleNamespace(rank=2, dims=[2, 3]),
        'data_type': 4,
        'strides': [],
        'data': array.array('B', np.arange(6, dtype='<u2').tobytes()),
    }
    return SimpleNamespace(tensors=[SimpleNamespace(**{**fields, **changes})])


def test_isaac_tensors_of_others() -> None:
    found = neighbours.arrays_of_isaac(isaac_tensor())['x']
    assert (found.dtype, found.tolist()) == (np.uint16, [[0, 1, 2], [3, 4, 5]])
    columns_first = neighbours.arrays_of_isaac(isaac_tensor(strides=[2, 4]))['x']
    assert columns_first.tolist() == [[0, 2, 4], [1, 3, 5]]


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'data_type': 0}, 'x: data_type is 0; expected 1 to 10'),
        ({'data_type': 9}, r'x has 12 bytes; shape \[2, 3\] needs 24'),
        ({'strides': [6]}, 'x has 2 axes and 1 strides'),
        ({'strides': [8, 2]}, r'x has 12 bytes; shape \[2, 3\] needs 14'),
        ({'shape': SimpleNamespace(dims=[2, 0])}, r'shape \[2, 0\].* expected sizes of 1 or more'),
    ],
)
def test_isaac_tensors_that_do_not_hold_what_they_say(changes: dict, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        neighbours.arrays_of_isaac(isaac_tensor(**changes))


def test_nothing_to_convert() -> None:
    with pytest.raises(ParameterError, match='no features to convert'):
        neighbours.to_isaac({}, SimpleNamespace())


# --- tensor_msgs ---------------------------------------------------------------------------------

TENSOR = 'tensor_msgs/msg/ExperimentalTensor'


@pytest.mark.parametrize(
    ('values', 'kind', 'expected'),
    [
        pytest.param(TOKENS, (2, 32), TOKENS, id='float32'),
        pytest.param(TOKENS.astype(np.float16), (2, 16), TOKENS, id='float16'),
        pytest.param(BFLOAT_BITS, (4, 16), BFLOAT_VALUES, id='bfloat16'),
    ],
)
def test_dlpack_there_and_back(store, values, kind, expected) -> None:
    made = neighbours.to_dlpack(feature_tensor(values), package(store, 'tensor_msgs'))
    found = sent(store, made, TENSOR)
    assert (found.dtype_code, found.dtype_bits, found.dtype_lanes) == (*kind, 1)
    assert found.shape.tolist() == list(values.shape)
    assert found.strides.tolist() == [values.shape[1], 1]
    assert found.byte_offset == 0
    np.testing.assert_array_equal(neighbours.array_of_dlpack(found), expected)


def test_dlpack_is_not_a_copy() -> None:
    msg = feature_tensor(TOKENS)
    made = neighbours.to_dlpack(msg, SimpleNamespace(ExperimentalTensor=SimpleNamespace))
    assert made.data is msg.data
    assert np.shares_memory(neighbours.array_of_dlpack(made), np.frombuffer(msg.data, np.uint8))


def dlpack(**changes: object) -> SimpleNamespace:
    fields = {
        'dtype_code': 0,
        'dtype_bits': 32,
        'dtype_lanes': 1,
        'shape': [2, 2],
        'strides': [],
        'byte_offset': 0,
        'data': array.array('B', np.arange(8, dtype='<i4').tobytes()),
    }
    return SimpleNamespace(**{**fields, **changes})


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        pytest.param({}, [[0, 1], [2, 3]], id='C order without strides'),
        pytest.param({'byte_offset': 16}, [[4, 5], [6, 7]], id='offset'),
        pytest.param({'strides': [4, 1], 'byte_offset': 8}, [[2, 3], [6, 7]], id='slice'),
        pytest.param({'strides': [0, 1]}, [[0, 1], [0, 1]], id='repeated'),
        pytest.param({'shape': [], 'byte_offset': 4}, 1, id='one number'),
    ],
)
def test_dlpack_of_others(changes: dict, expected) -> None:
    assert neighbours.array_of_dlpack(dlpack(**changes)).tolist() == expected


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'dtype_code': 12, 'dtype_bits': 8}, 'DLPack type 12 of 8 bits and 1 lanes; expected'),
        ({'dtype_lanes': 4}, 'and 4 lanes'),
        ({'byte_offset': 20}, r'the tensor has 32 bytes; shape \[2, 2\] needs 36'),
        ({'strides': [-1, 1]}, 'no negative strides'),
        ({'shape': [2**40, 2**40]}, 'the tensor has 32 bytes'),
    ],
)
def test_dlpack_that_does_not_hold_what_it_says(changes: dict, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        neighbours.array_of_dlpack(dlpack(**changes))


def test_the_newer_list_of_isaac(store, header) -> None:
    features = {
        'front': feature_tensor(TOKENS, header=header),
        'wrist': feature_tensor(TOKENS + 1),
    }
    made = neighbours.to_isaac_dlpack(
        features, package(store, 'isaac_ros_tensor_msgs'), package(store, 'tensor_msgs')
    )
    found = sent(store, made, 'isaac_ros_tensor_msgs/msg/TensorList')
    assert found.header.stamp.nanosec == 34
    assert found.names == ['front', 'wrist']
    np.testing.assert_array_equal(neighbours.array_of_dlpack(found.tensors[1]), TOKENS + 1)


# --- std_msgs ------------------------------------------------------------------------------------

FLOATS = 'std_msgs/msg/Float32MultiArray'


@pytest.mark.parametrize(
    ('grid_hw', 'labels', 'shape', 'strides'),
    [
        pytest.param(GRID, ['row', 'column', 'channel'], (2, 3, 4), [24, 12, 4], id='grid'),
        pytest.param((0, 0), ['token', 'channel'], (6, 4), [24, 4], id='no grid'),
    ],
)
def test_multi_array_there_and_back(store, grid_hw, labels, shape, strides) -> None:
    msg = feature_tensor(TOKENS.astype(np.float16), grid_hw=grid_hw)
    made = neighbours.to_multi_array(msg, package(store, 'std_msgs'))
    found = sent(store, made, FLOATS)
    assert [d.label for d in found.layout.dim] == labels
    assert [d.size for d in found.layout.dim] == list(shape)
    assert [d.stride for d in found.layout.dim] == strides
    values = neighbours.array_of_multi_array(found)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, TOKENS.reshape(shape))


def floats(*sizes_and_strides: tuple[int, int], offset: int = 0, count: int = 8):
    dim = [SimpleNamespace(size=size, stride=stride) for size, stride in sizes_and_strides]
    layout = SimpleNamespace(dim=dim, data_offset=offset)
    return SimpleNamespace(layout=layout, data=array.array('f', range(count)))


def test_multi_arrays_of_others() -> None:
    assert neighbours.array_of_multi_array(floats(count=3)).tolist() == [0, 1, 2]
    assert neighbours.array_of_multi_array(floats((2, 4), (2, 2), offset=3)).tolist() == [
        [3, 4],
        [5, 6],
    ]
    # Rows of three of which two are used.
    assert neighbours.array_of_multi_array(floats((2, 6), (2, 3))).tolist() == [[0, 1], [3, 4]]


def test_multi_array_that_does_not_hold_what_it_says() -> None:
    with pytest.raises(MalformedError, match=r'the array has 32 bytes; shape \[3, 3\] needs 36'):
        neighbours.array_of_multi_array(floats((3, 9), (3, 3)))


# --- rosetta -------------------------------------------------------------------------------------


def select(*names: str) -> SimpleNamespace:
    return SimpleNamespace(names=names)


def test_rosetta_selects_tokens_and_means() -> None:
    msg = feature_tensor(TOKENS.astype(np.float16))
    found = neighbours.decode_for_rosetta(msg, select('0.1', '5.3', 'mean.2'))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [TOKENS[0, 1], TOKENS[5, 3], TOKENS[:, 2].mean()])


def test_rosetta_without_select_gives_everything() -> None:
    found = neighbours.decode_for_rosetta(feature_tensor(TOKENS), select())
    assert found.tolist() == TOKENS.reshape(-1).tolist()


@pytest.mark.parametrize('name', ['6.0', '0.4', '7', 'mean', 'mean.-1', 'max.0', '-1.0', '0.0.0'])
def test_rosetta_selects_nothing_else(name: str) -> None:
    with pytest.raises(ParameterError, match=r'no number of the features; expected mean\.CHANNEL'):
        neighbours.decode_for_rosetta(feature_tensor(TOKENS), select(name))
