"""Features in the message layouts of other packages, and arrays back; none of them is needed here.

The classes of a package are given by its module of messages, such as `std_msgs.msg`, or by
anything that has classes of these names, which take their fields by keyword.
"""

from __future__ import annotations

import array
import math
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theia_ros.client.tensors import float32_of_bfloat16
from theia_ros.client.tensors import view_of
from theia_ros.errors import MalformedError
from theia_ros.errors import ParameterError

# Of isaac_ros_tensor_list_interfaces/Tensor; 16-bit floats have no number there.
_ISAAC = {
    1: '<i1',
    2: '<u1',
    3: '<i2',
    4: '<u2',
    5: '<i4',
    6: '<u4',
    7: '<i8',
    8: '<u8',
    9: '<f4',
    10: '<f8',
}
_ISAAC_FLOAT32 = 9

# DLPack's code and bits of a type. What numpy does not have is read as its bits.
_DLPACK = {
    (0, 8): '<i1',
    (0, 16): '<i2',
    (0, 32): '<i4',
    (0, 64): '<i8',
    (1, 8): '<u1',
    (1, 16): '<u2',
    (1, 32): '<u4',
    (1, 64): '<u8',
    (2, 16): '<f2',
    (2, 32): '<f4',
    (2, 64): '<f8',
    (4, 16): '<u2',
}
_DLPACK_OF = {'float32': (2, 32), 'float16': (2, 16), 'bfloat16': (4, 16)}
_BFLOAT16 = 4, 16


# --- isaac_ros_tensor_list_interfaces ------------------------------------------------------------


def to_isaac(features: Mapping[str, Any], isaac: Any) -> Any:
    """Return features as an isaac_ros_tensor_list_interfaces/TensorList, in float32.

    Args:
        features: A FeatureTensor for each name that the list is to have; the header is that of
            the first.
        isaac: `isaac_ros_tensor_list_interfaces.msg`.

    Raises:
        MalformedError: A message does not hold what it says.
    """
    header = _header_of_first(features)
    tensors = []
    for name, msg in features.items():
        tokens = view_of(msg).float32().tokens
        n, c = tokens.shape
        tensors.append(
            isaac.Tensor(
                name=name,
                shape=isaac.TensorShape(rank=2, dims=[n, c]),
                data_type=_ISAAC_FLOAT32,
                strides=[4 * c, 4],  # bytes
                data=_packed(tokens),
            )
        )
    return isaac.TensorList(header=header, tensors=tensors)


def arrays_of_isaac(msg: Any) -> dict[str, NDArray[Any]]:
    """Return the tensors of a TensorList by name, without a copy.

    Raises:
        MalformedError: One does not hold what it says.
    """
    found = {}
    for tensor in msg.tensors:
        if tensor.data_type not in _ISAAC:
            raise MalformedError(
                'dtype', f'{tensor.name}: data_type is {tensor.data_type}; expected 1 to 10'
            )
        found[tensor.name] = _strided(
            tensor.name, tensor.data, _ISAAC[tensor.data_type], tensor.shape.dims, tensor.strides
        )
    return found


def to_isaac_dlpack(features: Mapping[str, Any], isaac: Any, tensor_msgs: Any) -> Any:
    """Return features as an isaac_ros_tensor_msgs/TensorList, the newer one, as they are.

    Args:
        features: A FeatureTensor for each name that the list is to have; the header is that of
            the first.
        isaac: `isaac_ros_tensor_msgs.msg`.
        tensor_msgs: `tensor_msgs.msg`.

    Raises:
        MalformedError: A message does not hold what it says.
    """
    return isaac.TensorList(
        header=_header_of_first(features),
        names=list(features),
        tensors=[to_dlpack(msg, tensor_msgs) for msg in features.values()],
    )


# --- tensor_msgs ---------------------------------------------------------------------------------


def to_dlpack(msg: Any, tensor_msgs: Any) -> Any:
    """Return features as a tensor_msgs/ExperimentalTensor, of the type that they have.

    It has no header: the stamp must travel otherwise.

    Args:
        msg: A FeatureTensor; its bytes are shared.
        tensor_msgs: `tensor_msgs.msg`.

    Raises:
        MalformedError: The message does not hold what it says.
    """
    view = view_of(msg)
    code, bits = _DLPACK_OF[view.dtype]
    n, c = view.shape
    return tensor_msgs.ExperimentalTensor(
        dtype_code=code,
        dtype_bits=bits,
        dtype_lanes=1,
        shape=[n, c],
        strides=[c, 1],  # numbers, not bytes
        byte_offset=0,
        data=msg.data,
    )


def array_of_dlpack(msg: Any) -> NDArray[Any]:
    """Return the numbers of an ExperimentalTensor, without a copy; bfloat16 as float32.

    Raises:
        MalformedError: It does not hold what it says, or its type is not known to numpy.
    """
    kind = int(msg.dtype_code), int(msg.dtype_bits)
    if kind not in _DLPACK or msg.dtype_lanes != 1:
        raise MalformedError(
            'dtype',
            f'DLPack type {kind[0]} of {kind[1]} bits and {msg.dtype_lanes} lanes; expected whole '
            'or floating-point numbers that numpy has, in 1 lane',
        )
    dtype = _DLPACK[kind]
    strides = [int(stride) * np.dtype(dtype).itemsize for stride in msg.strides]
    found = _strided('the tensor', msg.data, dtype, msg.shape, strides, int(msg.byte_offset))
    if kind == _BFLOAT16:
        return float32_of_bfloat16(found)
    return found


# --- std_msgs ------------------------------------------------------------------------------------


def to_multi_array(msg: Any, std_msgs: Any) -> Any:
    """Return features as a std_msgs/Float32MultiArray: row, column, channel, or token, channel.

    It has no header: the stamp must travel otherwise.

    Args:
        msg: A FeatureTensor.
        std_msgs: `std_msgs.msg`.

    Raises:
        MalformedError: The message does not hold what it says.
    """
    view = view_of(msg).float32()
    labels: tuple[str, ...] = ('token', 'channel')
    sizes: tuple[int, ...] = view.shape
    if math.prod(view.grid_hw):
        labels, sizes = ('row', 'column', 'channel'), (*view.grid_hw, view.shape[1])
    dim = [
        std_msgs.MultiArrayDimension(label=label, size=size, stride=math.prod(sizes[i:]))
        for i, (label, size) in enumerate(zip(labels, sizes, strict=True))
    ]
    return std_msgs.Float32MultiArray(
        layout=std_msgs.MultiArrayLayout(dim=dim, data_offset=0),
        data=array.array('f', view.tokens.tobytes()),
    )


def array_of_multi_array(msg: Any) -> NDArray[np.float32]:
    """Return the numbers of a Float32MultiArray in the shape of its layout, without a copy.

    Without a layout they are one axis.

    Raises:
        MalformedError: The layout does not fit the data.
    """
    data = np.frombuffer(msg.data, np.float32)
    dim = msg.layout.dim
    if not dim:
        return data
    shape = [int(d.size) for d in dim]
    # The stride of an axis counts what it holds, so that of the next axis is its step.
    strides = [4 * int(d.stride) for d in dim[1:]] + [4]
    return _strided('the array', data, '<f4', shape, strides, 4 * int(msg.layout.data_offset))


# --- rosetta, and by it LeRobot ------------------------------------------------------------------


def decode_for_rosetta(msg: Any, spec: Any) -> NDArray[np.float32]:
    """Return what a contract of rosetta selects of a FeatureTensor, as one vector.

    In the contract: `type: theia_msgs/msg/FeatureTensor`,
    `decoder: theia_ros.neighbours:decode_for_rosetta`, `dtype: float32`.

    Args:
        msg: A FeatureTensor.
        spec: Its `names` are what `select` lists: `mean.7` is channel 7 of the mean of all
            tokens, `12.7` that of token 12. Without any, all numbers in order, which rosetta
            takes for one number only.

    Raises:
        MalformedError: The message does not hold what it says.
        ParameterError: A name is of another kind, or there is no such token or channel.
    """
    tokens = view_of(msg).float32().tokens
    if not spec.names:
        return tokens.reshape(-1)
    means = tokens.mean(axis=0)
    return np.array([_selected(tokens, means, name) for name in spec.names], np.float32)


def _selected(tokens: NDArray[Any], means: NDArray[Any], name: str) -> float:
    token, _, channel = name.partition('.')
    try:
        if not channel.isdigit() or not (token == 'mean' or token.isdigit()):
            raise ValueError
        return float((means if token == 'mean' else tokens[int(token)])[int(channel)])
    except (ValueError, IndexError):
        n, c = tokens.shape
        raise ParameterError(
            f'{name!r} is no number of the features; expected mean.CHANNEL or TOKEN.CHANNEL, with '
            f'{n} tokens and {c} channels'
        ) from None


# --- what they share -----------------------------------------------------------------------------


def _header_of_first(features: Mapping[str, Any]) -> Any:
    if not features:
        raise ParameterError('there are no features to convert')
    return next(iter(features.values())).header


def _packed(values: NDArray[Any]) -> array.array[int]:
    out = array.array('B')
    out.frombytes(np.ascontiguousarray(values).data.cast('B'))
    return out


def _strided(
    what: str,
    data: Any,
    dtype: str,
    shape: Sequence[int],
    strides: Sequence[int],
    offset: int = 0,
) -> NDArray[Any]:
    """Return a view of bytes with these strides, bytes as well; nothing outside of them is read.

    Without strides they are those of C order.
    """
    sizes, steps = [int(size) for size in shape], [int(step) for step in strides]
    buffer = np.frombuffer(data, np.uint8)
    item = np.dtype(dtype).itemsize
    if not steps:
        steps = [item * math.prod(sizes[i + 1 :]) for i in range(len(sizes))]
    if len(steps) != len(sizes):
        raise MalformedError('strides', f'{what} has {len(sizes)} axes and {len(steps)} strides')
    if any(size < 1 for size in sizes) or any(step < 0 for step in steps) or offset < 0:
        raise MalformedError(
            'shape',
            f'{what} has shape {sizes}, strides {steps} and offset {offset}; expected '
            'sizes of 1 or more and no negative strides',
        )
    needed = offset + sum((n - 1) * s for n, s in zip(sizes, steps, strict=True)) + item
    if needed > buffer.size:
        raise MalformedError(
            'size', f'{what} has {buffer.size} bytes; shape {sizes} needs {needed}'
        )
    return np.ndarray(sizes, dtype, buffer.data, offset, steps)
