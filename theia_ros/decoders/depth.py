"""Depth: the last step of Depth Anything's own head, or what a head learned from a simulator.

Yang et al., "Depth Anything: Unleashing the Power of Large-Scale Unlabeled Data", CVPR 2024.
What either gives is relative inverse depth: larger is nearer, and the scale is each picture's own.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from theia_ros.catalog import SUBCELLS
from theia_ros.catalog import TEACHERS
from theia_ros.cells import to_maps
from theia_ros.datatypes import DecodedMap
from theia_ros.datatypes import Frame
from theia_ros.geometry import map_hw
from theia_ros.geometry import stretch
from theia_ros.params import EncoderParams
from theia_ros.parts import Statistics
from theia_ros.tensor_file import read_tensors

DEPTH = 'depth/image'
COLOUR = 'depth/image_color'


class Head(Protocol):
    """Make depth of de-normalised tokens.

    Attributes:
        tensor: Whose tokens they are.
        finer: Rows, and columns, of depth for one of the grid.
    """

    tensor: ClassVar[str]
    finer: ClassVar[int]

    def inverse_depth(self, tokens: Tensor) -> Tensor:
        """Return relative inverse depth of tokens (B, N, C), (B, M) in 0..1, row by row."""


@dataclass(frozen=True)
class DepthHead:
    """The last convolution of Depth Anything, one pixel wide: weight (1, C) and bias (1,)."""

    tensor: ClassVar[str] = 'depth_anything'
    finer: ClassVar[int] = 1

    weight: Tensor
    bias: Tensor

    def inverse_depth(self, tokens: Tensor) -> Tensor:
        """Return relative inverse depth, (B, N) in 0..1, 1 nearest.

        Args:
            tokens: (B, N, C), de-normalised, before the activation.

        Returns:
            Stretched over each picture; all 0 for one of constant depth. What is not finite, as
            half precision may give, counts as 0.
        """
        weight, bias = self.weight.to(tokens.device), self.bias.to(tokens.device)
        return _stretched(F.linear(tokens.relu(), weight, bias).relu()[..., 0])


class LogDepthHead:
    """The logarithm of depth in metres, from a head that learned it from a simulator.

    It is shown as relative depth all the same: no number of metres holds outside the simulator.
    """

    tensor: ClassVar[str] = 'depth'
    finer: ClassVar[int] = SUBCELLS

    def inverse_depth(self, tokens: Tensor) -> Tensor:
        """Return relative inverse depth, (B, 4096) in 0..1, of tokens (B, 256, 16)."""
        return _stretched(to_maps(tokens).neg().exp().flatten(1))


def _stretched(depth: Tensor) -> Tensor:
    """Return inverse depth (B, M) stretched to 0..1; what is not finite counts as 0."""
    depth = torch.where(depth.isfinite(), depth, 0)
    low, high = depth.amin(dim=1, keepdim=True), depth.amax(dim=1, keepdim=True)
    return torch.where(high > low, (depth - low) / (high - low), 0)


def load(path: Path) -> DepthHead:
    """Load the head.

    Raises:
        WeightsError: The file is damaged, or its tensors are not exactly the expected ones.
    """
    channels = TEACHERS['depth_anything'].channels
    tensors = read_tensors(
        path,
        {'head.conv3.weight': (1, channels, 1, 1), 'head.conv3.bias': (1,)},
        'the depth head of Depth Anything',
    )
    return DepthHead(tensors['head.conv3.weight'].flatten(1), tensors['head.conv3.bias'])


class DepthDecoder:
    """Make depth as numbers, and as colours.

    The numbers are repeated to the size of the map, as published: between the cells of the grid
    nothing is invented, so that no point floats between a thing and what is behind it. The
    colours are for people, and smooth.
    """

    maps: tuple[str, ...] = (DEPTH, COLOUR)

    def __init__(self, statistics: Statistics, head: Head, map_width_px: int) -> None:
        """Make a decoder.

        Args:
            statistics: Of the teacher.
            head: See `load` and `LogDepthHead`.
            map_width_px: Most columns of a map.
        """
        self.tensor = head.tensor
        self._statistics = statistics
        self._head = head
        self._map_width_px = map_width_px

    def use(self, params: EncoderParams) -> None:
        """Go on with another size of map."""
        self._map_width_px = params.map_width_px

    def decode(
        self, grids: Tensor, frames: Sequence[Frame], wanted: Collection[str]
    ) -> list[Mapping[str, DecodedMap]]:
        """Return the wanted maps of each picture; see `Decoder.decode`."""
        tokens = self._statistics.denormalise(grids.flatten(2).transpose(1, 2))
        # The head works on each cell alone, so that repeating cells can wait.
        h, w = (side * self._head.finer for side in grids.shape[2:])
        depth = self._head.inverse_depth(tokens).view(len(grids), 1, h, w)
        return [self._maps(d, frame, wanted) for d, frame in zip(depth, frames, strict=True)]

    def _maps(
        self, depth: Tensor, frame: Frame, wanted: Collection[str]
    ) -> Mapping[str, DecodedMap]:  # (1, h, w) in 0..1
        size_hw = map_hw(frame.image_hw, self._map_width_px)
        maps = {}
        if DEPTH in wanted:
            values = stretch(depth, size_hw, 1.0, 'nearest')[0].cpu().numpy()
            maps[DEPTH] = DecodedMap(DEPTH, values, '32FC1', frame.stamp_ns, frame.frame_id)
        if COLOUR in wanted:
            smooth = stretch(depth, size_hw, 1.0, 'bilinear')[0]
            picture = turbo(smooth).cpu().numpy()
            maps[COLOUR] = DecodedMap(COLOUR, picture, 'rgb8', frame.stamp_ns, frame.frame_id)
        return maps


# Turbo (Mikhailov, Google, 2019), which follows brightness closely enough to show steps and has
# more colours than a ramp of grey: red, green and blue as polynomials, lowest power first, as
# fitted by R. Du, https://gist.github.com/mikhailov-work/0d177465a8151eb6ede1768d51d476c7.
_TURBO = (
    (0.13572138, 4.61539260, -42.66032258, 132.13108234, -152.94239396, 59.28637943),
    (0.09140261, 2.19418839, 4.84296658, -14.18503333, 4.27729857, 2.82956604),
    (0.10667330, 12.64194608, -60.58204836, 110.36276771, -89.90310912, 27.34824973),
)


def turbo(values: Tensor) -> Tensor:
    """Return a colour from dark blue to dark red for each value (H, W) in 0..1.

    Returns:
        (H, W, 3) uint8.
    """
    powers = torch.linspace(0, 1, 256)[:, None] ** torch.arange(6)
    table = (powers @ torch.tensor(_TURBO).T).clamp(0, 1).mul(255).round().byte()  # (256, 3)
    return table.to(values.device)[values.mul(255).round().long()]
