"""What every decoder is: a teacher's tokens in, pictures in the camera's view out."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from theia_ros.datatypes import DecodedMap
from theia_ros.datatypes import Frame
from theia_ros.params import EncoderParams


class Decoder(Protocol):
    """Make maps from one tensor.

    Attributes:
        tensor: Name of the tensor that it reads.
        maps: Names of the maps that it makes, which are their topics below the camera's.
    """

    tensor: str
    maps: tuple[str, ...]

    def use(self, params: EncoderParams) -> None:
        """Go on with other values of the live parameters; from any thread."""

    def decode(
        self, grids: Tensor, frames: Sequence[Frame], wanted: Collection[str]
    ) -> list[Mapping[str, DecodedMap]]:
        """Return the wanted maps of each picture.

        Args:
            grids: (B, C, h, w) float32, the tensor on its patch grid.
            frames: The B pictures.
            wanted: Of `maps`; no other is computed.

        Returns:
            One mapping for each picture, from map name to map.
        """
