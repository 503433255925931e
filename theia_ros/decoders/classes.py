"""Segmentation by class, from a head that learned the classes of a simulator."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence

from torch import Tensor

from theia_ros.cells import class_logits
from theia_ros.cells import to_maps
from theia_ros.datatypes import DecodedMap
from theia_ros.datatypes import Frame
from theia_ros.decoders.segmentation import label_maps
from theia_ros.decoders.segmentation import LABELS
from theia_ros.decoders.segmentation import OVERLAY
from theia_ros.params import EncoderParams


class ClassesDecoder:
    """Make the class of each pixel, and a picture of the classes over the camera's.

    Class 0 is the background, which stays without a colour.
    """

    tensor = 'classes'
    maps: tuple[str, ...] = (LABELS, OVERLAY)

    def __init__(self, map_width_px: int) -> None:
        """Make a decoder of maps with at most these columns."""
        self._map_width_px = map_width_px

    def use(self, params: EncoderParams) -> None:
        """Go on with another size of map."""
        self._map_width_px = params.map_width_px

    def decode(
        self, grids: Tensor, frames: Sequence[Frame], wanted: Collection[str]
    ) -> list[Mapping[str, DecodedMap]]:
        """Return the wanted maps of each picture; see `Decoder.decode`."""
        best = class_logits(grids.flatten(2).transpose(1, 2)).argmax(dim=2)
        return [
            label_maps(labels, frame, self._map_width_px, wanted)
            for labels, frame in zip(to_maps(best), frames, strict=True)
        ]
