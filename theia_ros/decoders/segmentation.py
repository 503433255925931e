"""Segmentation: every thing that SAM's own mask decoder finds in the predicted embedding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from theia_ros.datatypes import DecodedMap
from theia_ros.datatypes import Frame
from theia_ros.decoders.masks import Enlarger
from theia_ros.decoders.masks import grid_points
from theia_ros.decoders.masks import keep
from theia_ros.decoders.masks import Masks
from theia_ros.decoders.masks import without_repeats
from theia_ros.decoders.numbering import colours
from theia_ros.decoders.numbering import Numbering
from theia_ros.decoders.sam import SamDecoder
from theia_ros.geometry import map_hw
from theia_ros.geometry import stretch
from theia_ros.params import EncoderParams
from theia_ros.parts import Statistics

LABELS = 'segmentation/labels'
OVERLAY = 'segmentation/image'

POINTS_PER_BATCH = {'cpu': 1, 'cuda': 16}
"""What suits the caches of a processor, and the width and memory of a GPU."""


class SegmentationDecoder:
    """Make the labels of each pixel, and a picture of them over the camera's.

    Where masks lie on each other, the smaller is on top: a part is seen on its whole. Numbers are
    kept from picture to picture of each camera; see `Numbering`.
    """

    tensor = 'sam'
    maps: tuple[str, ...] = (LABELS, OVERLAY)

    def __init__(self, statistics: Statistics, network: SamDecoder, params: EncoderParams) -> None:
        """Make a decoder that begins with the next picture."""
        self._statistics = statistics
        self._network = network
        self._enlarger = Enlarger()
        self._params = params
        self._numberings: defaultdict[str, Numbering] = defaultdict(Numbering)

    def use(self, params: EncoderParams) -> None:
        """Go on with another size of map, grid of points and thresholds."""
        self._params = params

    def decode(
        self, grids: Tensor, frames: Sequence[Frame], wanted: Collection[str]
    ) -> list[Mapping[str, DecodedMap]]:
        """Return the wanted maps of each picture; see `Decoder.decode`."""
        return [
            self._decode(grid, frame, wanted) for grid, frame in zip(grids, frames, strict=True)
        ]

    def find(self, grid: Tensor) -> Masks:
        """Return what is kept of the masks of a picture, the best first.

        Args:
            grid: (256, 64, 64), normalised as the head gives it.
        """
        params, device = self._params, grid.device
        self._network.to(device)
        batch = params.segmentation_points_per_batch or POINTS_PER_BATCH.get(device.type, 16)
        with torch.inference_mode():
            embedding = self._statistics.denormalise(grid.flatten(1).T).T.view_as(grid)
            image = self._network.look(embedding)
            points = grid_points(params.segmentation_points_per_side).to(device)
            parts = []
            for prompts in torch.split(self._network.point(points), batch):
                scores, drawn, logits = self._network(
                    image, prompts, params.segmentation_iou_threshold
                )
                parts.append(
                    keep(
                        self._enlarger(logits),
                        scores[drawn],
                        params.segmentation_iou_threshold,
                        params.segmentation_stability_threshold,
                    )
                )
            return without_repeats(Masks.joined(parts))

    def _decode(
        self, grid: Tensor, frame: Frame, wanted: Collection[str]
    ) -> Mapping[str, DecodedMap]:
        masks = self.find(grid)
        numbers = self._numberings[frame.camera].number(masks.boxes.cpu().numpy())
        labels = paint(masks, torch.from_numpy(numbers).to(grid.device))
        return label_maps(labels, frame, self._params.map_width_px, wanted)


def paint(masks: Masks, numbers: Tensor) -> Tensor:
    """Return the number of the smallest mask at each pixel, (H, W) int64, 0 where there is none.

    Args:
        masks: K masks; of two of one size the earlier is on top.
        numbers: (K,), from 1 on.
    """
    if not len(masks):
        return masks.pixels.new_zeros(masks.pixels.shape[1:], dtype=torch.long)
    order = masks.pixels.sum(dim=(1, 2)).argsort(stable=True)
    pixels = masks.pixels[order]
    top = pixels.byte().argmax(dim=0)  # the first of the largest: the first mask that is there
    return torch.where(pixels.any(dim=0), numbers[order][top], 0)


def label_maps(
    labels: Tensor, frame: Frame, map_width_px: int, wanted: Collection[str]
) -> Mapping[str, DecodedMap]:
    """Return the wanted maps of a picture's labels.

    Args:
        labels: (h, w) whole numbers over the whole picture, 0 for nothing.
        frame: The picture.
        map_width_px: Most columns of a map.
        wanted: Of `LABELS` and `OVERLAY`; no other is made.
    """
    size_hw = map_hw(frame.image_hw, map_width_px)
    # Labels are names and not amounts: they are repeated, never mixed.
    values = stretch(labels[None], size_hw, 1.0, 'nearest')[0].cpu().numpy().astype(np.uint16)
    maps = {}
    if LABELS in wanted:
        maps[LABELS] = DecodedMap(LABELS, values, '16UC1', frame.stamp_ns, frame.frame_id)
    if OVERLAY in wanted:
        picture = overlay(frame.rgb, values)
        maps[OVERLAY] = DecodedMap(OVERLAY, picture, 'rgb8', frame.stamp_ns, frame.frame_id)
    return maps


def overlay(rgb: NDArray[np.uint8], labels: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Lay the colours of labels (h, w) over a picture (H, W, 3), half and half, (h, w, 3)."""
    small = rgb
    if rgb.shape[:2] != labels.shape:
        size = (labels.shape[1], labels.shape[0])
        picture = Image.fromarray(np.ascontiguousarray(rgb))
        small = np.asarray(picture.resize(size, Image.Resampling.BILINEAR))
    # The mean of two bytes without a wider type: halves first, and what both halves lose.
    one, other = small, colours(labels)
    mixed = (one >> 1) + (other >> 1) + (one & other & 1)
    return np.where(labels[..., None] > 0, mixed, small)
