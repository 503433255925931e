"""The DINOv2 view: the three main directions of the tokens as red, green and blue.

Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", 2023, section 7.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from theia_ros.catalog import TARGETS
from theia_ros.datatypes import DecodedMap
from theia_ros.datatypes import Frame
from theia_ros.geometry import map_hw
from theia_ros.geometry import stretch
from theia_ros.params import EncoderParams
from theia_ros.parts import Statistics

VIEW = 'dinov2/image'

FOLLOW = 0.02
"""Weight of the newest batch in the stable view; at 30 Hz it follows within some seconds."""


def principal_directions(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean (C,) and the three main directions (3, C) of tokens (M, C).

    By exact singular value decomposition; the largest loading of each direction is positive.
    """
    mean = tokens.mean(dim=0)
    _, _, directions = torch.linalg.svd(tokens - mean, full_matrices=False)
    directions = F.pad(directions, (0, 0, 0, 3))[:3]  # two tokens have but two directions
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    return mean, directions * largest.sign()


class StableView:
    """The view of a stream of pictures: equal things keep equal colours.

    It begins with the exact fit to the first batch, which is the view of the published code, and
    then follows slowly, by one step of orthogonal iteration on the running covariance for each
    batch. Each direction moves continuously from the last one, so neither signs nor the order of
    the colours can flip. One view serves all cameras, so that their colours mean the same.
    """

    def __init__(self) -> None:
        """Begin with the next batch that shows more than one colour."""
        self._batches = 0
        self._mean = self._directions = self._strength = self._low = self._high = torch.empty(0)

    def colours(self, tokens: Tensor) -> Tensor:
        """Take in a batch of tokens (B, N, C) and return its colours, (B, N, 3) in 0..1."""
        flat = tokens.flatten(0, 1)
        if self._varies(flat):
            # A plain average at first, so that one odd picture at the start does not rule.
            weight = max(1 / (1 + self._batches), FOLLOW)
            if not self._batches:
                self._begin(flat)
            else:
                self._follow(flat, weight)
            projected = (flat - self._mean) @ self._directions.T
            self._low = self._low.lerp(projected.amin(dim=0), weight)
            self._high = self._high.lerp(projected.amax(dim=0), weight)
            self._batches += 1
        elif not self._batches:
            return tokens.new_zeros(*tokens.shape[:2], 3)
        else:
            projected = (flat - self._mean) @ self._directions.T
        # A direction in which next to nothing happens stays dark; its rounding is no colour.
        spread = self._high - self._low
        high = self._low + spread.maximum(spread.max() * 1e-3)
        return _stretch(projected, self._low, high).view(*tokens.shape[:2], 3)

    def _varies(self, flat: Tensor) -> bool:
        """Return whether tokens (M, C) differ from each other by more than rounding.

        Pictures of one colour, as from a covered camera, must not wash the view out.
        """
        mean = flat.mean(dim=0)
        spread = (flat - mean).square().sum(dim=1).mean()
        least = 1e-10 * mean.square().sum()
        if self._batches:
            least = least + 1e-6 * self._strength.sum()
        return bool(spread > least)

    def _begin(self, flat: Tensor) -> None:
        self._mean, self._directions = principal_directions(flat)
        projected = (flat - self._mean) @ self._directions.T
        self._strength = projected.square().mean(dim=0)
        self._low, self._high = projected.amin(dim=0), projected.amax(dim=0)

    def _follow(self, flat: Tensor, weight: float) -> None:
        """Move mean and directions a little towards those of tokens (M, C)."""
        self._mean = self._mean.lerp(flat.mean(dim=0), weight)
        centred = flat - self._mean
        seen = centred.T @ (centred @ self._directions.T) / len(flat)  # covariance x directions
        moved = ((self._directions * self._strength[:, None]).T).lerp(seen, weight)  # (C, 3)
        basis, triangle = torch.linalg.qr(moved)
        signs = torch.where(triangle.diagonal() < 0, -1.0, 1.0)
        self._directions = (basis * signs).T
        self._strength = moved.norm(dim=0)


def _stretch(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Stretch (M, 3) from low..high to 0..1; a colour without spread becomes 0."""
    return ((values - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)


class PcaDecoder:
    """Make the stable view, in the camera's pixels."""

    maps: tuple[str, ...] = (VIEW,)

    def __init__(self, tensor: str, statistics: Statistics | None, map_width_px: int) -> None:
        """Make a decoder that begins with the next picture.

        Args:
            tensor: `dinov2`, or `theia` for a model without that head.
            statistics: Of the teacher; without them the view is of normalised features, in
                which weak channels count as much as strong ones.
            map_width_px: Most columns of a map.
        """
        self.tensor = tensor
        self._statistics = statistics
        self._map_width_px = map_width_px
        self._view = TARGETS[tensor].view if tensor in TARGETS else 1.0
        self._stable = StableView()

    def use(self, params: EncoderParams) -> None:
        """Go on with another size of map."""
        self._map_width_px = params.map_width_px

    def decode(
        self, grids: Tensor, frames: Sequence[Frame], wanted: Collection[str]
    ) -> list[Mapping[str, DecodedMap]]:
        """Return the view of each picture; see `Decoder.decode`."""
        tokens = grids.flatten(2).transpose(1, 2)  # (B, h * w, C)
        if self._statistics:
            tokens = self._statistics.denormalise(tokens)
        colours = self._stable.colours(tokens).transpose(1, 2)
        colours = colours.reshape(len(grids), 3, *grids.shape[2:])
        return [
            {VIEW: self._map(grid, frame)} for grid, frame in zip(colours, frames, strict=True)
        ]

    def _map(self, colours: Tensor, frame: Frame) -> DecodedMap:  # (3, h, w) in 0..1
        size_hw = map_hw(frame.image_hw, self._map_width_px)
        picture = stretch(colours, size_hw, self._view, 'bilinear')  # (3, H, W)
        values = picture.mul(255).round().byte().permute(1, 2, 0).contiguous().cpu().numpy()
        return DecodedMap(VIEW, values, 'rgb8', frame.stamp_ns, frame.frame_id)
