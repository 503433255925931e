"""Every mask of a picture: a grid of points, the masks of each, and which of them are kept.

Kirillov et al., "Segment Anything", ICCV 2023, appendix B, on the 224 by 224 pixels that Theia
sees. What is kept, and its order, equals the published Theia code.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from theia_ros.catalog import IMAGE_PX
from theia_ros.decoders.sam import FRAME_PX
from theia_ros.decoders.sam import GRID

STABILITY_MARGIN = 1.0
"""A mask is stable when its size hardly depends on where, within this, the logits are cut."""
MAX_OVERLAP = 0.7
"""Intersection over union of two boxes that say the same."""


@dataclass(frozen=True)
class Masks:
    """Masks of one picture.

    Attributes:
        pixels: (K, H, W) bool.
        scores: (K,) float32, predicted intersection over union with the true mask.
        boxes: (K, 4) int64, first and last column and row of each: x0, y0, x1, y1. All are 0 for
            a mask without pixels.
    """

    pixels: Tensor
    scores: Tensor
    boxes: Tensor

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.scores)

    def __getitem__(self, which: Tensor) -> Masks:
        """Return some of them, in the order of the indices."""
        return Masks(self.pixels[which], self.scores[which], self.boxes[which])

    @staticmethod
    def joined(parts: Iterable[Masks]) -> Masks:
        """Return the masks of all parts, one part after the other."""
        listed = list(parts)
        return Masks(
            torch.cat([part.pixels for part in listed]),
            torch.cat([part.scores for part in listed]),
            torch.cat([part.boxes for part in listed]),
        )


def grid_points(per_side: int) -> Tensor:
    """Return points spread evenly over SAM's frame, (per_side ** 2, 2) x and y, row by row."""
    at = (torch.arange(per_side) + 0.5) * FRAME_PX / per_side
    y, x = torch.meshgrid(at, at, indexing='ij')
    return torch.stack([x, y], dim=-1).flatten(0, 1)


class Enlarger:
    """Bring the network's logits, 256 pixels square, to the 224 pixels that Theia sees.

    The published code enlarges to SAM's 1024 and then reduces, bilinearly both times. The two
    steps together weigh at most three neighbours along each axis, so they are done as one, a
    tenth of the work and the same up to rounding.
    """

    def __init__(self) -> None:
        """Find the weights."""
        eye = torch.eye(4 * GRID)[None]
        steps = F.interpolate(eye, FRAME_PX, mode='linear', align_corners=False)
        steps = F.interpolate(steps, IMAGE_PX, mode='linear', align_corners=False)[0].T
        # (224, 256), of which a row holds up to three numbers side by side, none negative.
        first = (steps > 0).byte().argmax(dim=1).clamp(max=4 * GRID - 3)
        self._places = first + torch.arange(3)[:, None]  # (3, 224)
        self._weights = steps.gather(1, self._places.T).T

    def __call__(self, logits: Tensor) -> Tensor:
        """Return logits (K, 256, 256) as (K, 224, 224)."""
        places, weights = self._places.to(logits.device), self._weights.to(logits.device)
        rows = logits.new_zeros(len(logits), IMAGE_PX, logits.shape[2])
        for place, weight in zip(places, weights, strict=True):
            rows.addcmul_(logits.index_select(1, place), weight[:, None])
        done = logits.new_zeros(len(logits), IMAGE_PX, IMAGE_PX)
        for place, weight in zip(places, weights, strict=True):
            done.addcmul_(rows.index_select(2, place), weight)
        return done


def stability(logits: Tensor) -> Tensor:
    """Return how little the size of each mask depends on the cut, (K,) in 0..1.

    Args:
        logits: (K, H, W).

    Returns:
        The part of the mask cut at -1 that the one cut at 1 has; NaN where both are empty.
    """
    inner = (logits > STABILITY_MARGIN).sum(dim=(1, 2))
    outer = (logits > -STABILITY_MARGIN).sum(dim=(1, 2))
    return inner / outer


def keep(
    logits: Tensor, scores: Tensor, iou_threshold: float, stability_threshold: float
) -> Masks:
    """Return the masks that are good and stable.

    Args:
        logits: (K, H, W).
        scores: (K,).
        iou_threshold: Scores must be above it; all pass when it is 0 or less.
        stability_threshold: See `stability`; all pass when it is 0 or less.
    """
    passed = torch.ones_like(scores, dtype=torch.bool)
    if iou_threshold > 0:
        passed &= scores > iou_threshold
    if stability_threshold > 0:
        passed &= stability(logits) > stability_threshold
    pixels = logits[passed] > 0
    return Masks(pixels, scores[passed], boxes(pixels))


def boxes(pixels: Tensor) -> Tensor:
    """Return the box of each mask (K, H, W) bool; see `Masks.boxes`."""
    ends = []
    for used in (pixels.any(dim=1), pixels.any(dim=2)):  # columns (K, W), rows (K, H)
        last = used.shape[1] - 1
        flags = used.byte()
        ends += [flags.argmax(dim=1), last - flags.flip(1).argmax(dim=1)]
    x0, x1, y0, y1 = ends
    found = torch.stack([x0, y0, x1, y1], dim=1)
    return found * pixels.flatten(1).any(dim=1, keepdim=True)


def without_repeats(masks: Masks, max_overlap: float = MAX_OVERLAP) -> Masks:
    """Return the masks whose box is not also that of a better one, the best first.

    Greedy suppression: the best mask stays, those that overlap it more than `max_overlap` go, and
    so on with what is left.
    """
    order = masks.scores.argsort(descending=True, stable=True)
    corners = masks.boxes[order].cpu().numpy()
    same = overlaps(corners, corners) > max_overlap
    left = np.ones(len(corners), dtype=bool)
    stay = []
    for i in range(len(corners)):
        if left[i]:
            stay.append(i)
            left &= ~same[i]
    return masks[order[torch.tensor(stay, dtype=torch.long, device=order.device)]]


def overlaps(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return intersection over union of each of (K, 4) boxes with each of (M, 4), (K, M).

    As published: a box ends in its last pixel, so that one a pixel wide has no area.
    """
    a, b = one[:, None].astype(np.float32), other[None].astype(np.float32)
    width = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    height = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    shared = width.clip(min=0) * height.clip(min=0)
    total = _area(a) + _area(b) - shared
    ratio: NDArray[np.float32] = np.divide(
        shared, total, out=np.zeros_like(shared), where=total > 0
    )
    return ratio


def _area(corners: NDArray[np.float32]) -> NDArray[np.float32]:
    x0, y0, x1, y1 = np.moveaxis(corners, -1, 0)
    area: NDArray[np.float32] = (x1 - x0) * (y1 - y0)
    return area
