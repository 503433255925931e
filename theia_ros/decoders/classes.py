"""Segmentation by class: what a head says that learned the classes of a simulator."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from theia_ros.cells import class_logits
from theia_ros.cells import to_maps
from theia_ros.datatypes import DecodedMap
from theia_ros.datatypes import Frame
from theia_ros.decoders.segmentation import LABELS
from theia_ros.decoders.segmentation import OVERLAY
from theia_ros.decoders.segmentation import overlay
from theia_ros.geometry import map_hw
from theia_ros.geometry import stretch
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
        return [self._maps(l, f, wanted) for l, f in zip(to_maps(best), frames, strict=True)]

    def _maps(
        self, labels: Tensor, frame: Frame, wanted: Collection[str]
    ) -> Mapping[str, DecodedMap]:  # (64, 64)
        size_hw = map_hw(frame.image_hw, self._map_width_px)
        # Classes are names and not amounts: they are repeated, never mixed.
        values = stretch(labels[None], size_hw, 1.0, 'nearest')[0].cpu().numpy().astype(np.uint16)
        maps = {}
        if LABELS in wanted:
            maps[LABELS] = DecodedMap(LABELS, values, '16UC1', frame.stamp_ns, frame.frame_id)
        if OVERLAY in wanted:
            picture = overlay(frame.rgb, values)
            maps[OVERLAY] = DecodedMap(OVERLAY, picture, 'rgb8', frame.stamp_ns, frame.frame_id)
        return maps
