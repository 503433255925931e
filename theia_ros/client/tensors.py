"""One received tensor: a view of the message's memory; float32 or torch on request."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
from typing import Any
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from theia_ros.datatypes import Region
from theia_ros.errors import FeatureError
from theia_ros.errors import MalformedError

if TYPE_CHECKING:
    from torch import Tensor

# What dtype of a FeatureTensor means: a name, and what numpy reads it as. For bfloat16, which
# numpy does not know, that is its bits.
_DTYPES: Mapping[int, tuple[str, str]] = {
    1: ('float32', '<f4'),
    2: ('float16', '<f2'),
    3: ('bfloat16', '<u2'),
}
_NUMPY = dict(_DTYPES.values())


@dataclass(frozen=True, eq=False)
class FeatureView:
    """A tensor of one picture, in the memory that it was received in.

    Attributes:
        name: `theia` for the backbone, else the teacher's name.
        model: Name of the model that made it.
        provenance: Digest of what decides its numbers.
        dtype: `float32`, `float16` or `bfloat16`.
        shape: (N, C): tokens, channels.
        grid_hw: Rows and columns of the patch grid; (0, 0) when the tokens lie on none.
        region: Pixels of the source picture that the tokens describe; 0 by 0 is all of it.
        data: The bytes of the numbers, uint8, little endian, in C order.
        stamp_ns: Capture time of the source picture, nanoseconds.
        frame_id: Optical frame of the source picture.
        received_ns: When the message came, nanoseconds by the policy's clock.
    """

    name: str
    model: str
    provenance: str
    dtype: str
    shape: tuple[int, int]
    grid_hw: tuple[int, int]
    region: Region
    data: NDArray[np.uint8]
    stamp_ns: int
    frame_id: str
    received_ns: int = 0

    @property
    def tokens(self) -> NDArray[Any]:
        """The numbers, (N, C), float32 or float16 as they were sent, without a copy.

        Raises:
            FeatureError: They are bfloat16.
        """
        if self.dtype == 'bfloat16':
            raise FeatureError(
                f'{self.name} came as bfloat16, which numpy does not have; ask for float32() or '
                'torch()'
            )
        return self._numbers()

    @property
    def latency_s(self) -> float:
        """From the capture of the picture to the arrival of its features, seconds.

        By the clocks of the camera's machine and of the policy's.
        """
        return (self.received_ns - self.stamp_ns) / 1e9

    def as_map(self) -> NDArray[Any]:
        """Return `tokens` on their grid, (C, h, w), without a copy.

        Raises:
            FeatureError: They lie on no grid, or are bfloat16.
        """
        h, w = self._grid()
        return self.tokens.T.reshape(-1, h, w)

    def float32(self) -> FeatureView:
        """Return the same in float32: itself if it is, else a copy; nothing is lost."""
        if self.dtype == 'float32':
            return self
        numbers = self._numbers()
        if self.dtype == 'bfloat16':
            wide = float32_of_bfloat16(numbers)
        else:
            wide = numbers.astype('<f4')
        return replace(self, dtype='float32', data=wide.reshape(-1).view(np.uint8))

    def torch(self) -> Tensor:
        """Return the numbers as a tensor, (N, C), of the type that they were sent in.

        It lies in the message's memory, unless that may not be written to. This alone needs torch.
        """
        import torch

        numbers = self._numbers()
        if self.dtype == 'bfloat16':
            numbers = numbers.view('<i2')
        if not (numbers.flags.writeable and numbers.flags.aligned):
            numbers = numbers.copy()
        tensor = torch.from_numpy(numbers)
        return tensor.view(torch.bfloat16) if self.dtype == 'bfloat16' else tensor

    def token_at(self, x_px: float, y_px: float) -> int:
        """Return which token describes a pixel of the source picture.

        Args:
            x_px: Column of the pixel, from the left.
            y_px: Row of the pixel, from the top.

        Raises:
            FeatureError: None does, or the tokens lie on no grid, or their place is not known.
        """
        h, w = self._grid()
        region = self.region
        if not (region.width_px and region.height_px):
            raise FeatureError(f'{self.name} does not tell which pixels its grid covers')
        column = math.floor((x_px - region.x_px) * w / region.width_px)
        row = math.floor((y_px - region.y_px) * h / region.height_px)
        if not (0 <= column < w and 0 <= row < h):
            raise FeatureError(
                f'pixel ({x_px:g}, {y_px:g}) is outside of the grid of {self.name}, which covers '
                f'{region.width_px}x{region.height_px} pixels from ({region.x_px}, {region.y_px})'
            )
        return row * w + column

    def _numbers(self) -> NDArray[Any]:
        return self.data.view(_NUMPY[self.dtype]).reshape(self.shape)

    def _grid(self) -> tuple[int, int]:
        h, w = self.grid_hw
        if not h * w:
            raise FeatureError(f'the {self.shape[0]} tokens of {self.name} lie on no grid')
        return h, w


def view_of(msg: Any, received_ns: int = 0) -> FeatureView:
    """Return what a FeatureTensor holds, without a copy.

    Args:
        msg: As it comes from rclpy, or from a bag.
        received_ns: When it came, nanoseconds.

    Raises:
        MalformedError: It does not hold what it says.
    """
    try:
        dtype, numpy_name = _DTYPES[msg.dtype]
    except KeyError:
        known = ', '.join(f'{number} ({name})' for number, (name, _) in _DTYPES.items())
        raise MalformedError('dtype', f'dtype is {msg.dtype}; expected one of {known}') from None
    if len(msg.shape) != 2:
        axes = len(msg.shape)
        raise MalformedError('shape', f'shape has {axes} axes; expected [tokens, channels]')
    shape = int(msg.shape[0]), int(msg.shape[1])
    if 0 in shape:
        raise MalformedError('shape', f'shape is {list(shape)}; expected [tokens, channels]')
    data = np.frombuffer(msg.data, np.uint8)
    needed = math.prod(shape) * np.dtype(numpy_name).itemsize
    if data.size != needed:
        raise MalformedError(
            'size', f'data has {data.size} bytes; {dtype} of shape {list(shape)} has {needed}'
        )
    grid_hw = int(msg.grid_height), int(msg.grid_width)
    if grid_hw != (0, 0) and math.prod(grid_hw) != shape[0]:
        raise MalformedError(
            'grid', f'the grid has {grid_hw[0]}x{grid_hw[1]} cells, the tensor {shape[0]} tokens'
        )
    region = msg.region
    return FeatureView(
        name=msg.name,
        model=msg.model,
        provenance=msg.provenance,
        dtype=dtype,
        shape=shape,
        grid_hw=grid_hw,
        region=Region(
            int(region.x_offset), int(region.y_offset), int(region.width), int(region.height)
        ),
        data=data,
        stamp_ns=stamp_ns(msg.header.stamp),
        frame_id=msg.header.frame_id,
        received_ns=received_ns,
    )


def float32_of_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the numbers of which these bits, as of bfloat16, are the upper half in float32."""
    return (bits.astype('<u4') << 16).view('<f4')


def stamp_ns(stamp: Any) -> int:
    """Return a builtin_interfaces/Time in nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
