"""Numbers and colours of masks: the same thing keeps them from picture to picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from theia_ros.decoders.masks import overlaps

SAME_THING = 0.5
"""Masks of two pictures show the same thing when their boxes overlap by more than this."""
FORGET = 10
"""Pictures after which the number of a thing that is gone may be given to another."""


class Numbering:
    """Number the masks of one camera.

    A mask takes the number of the one whose box, when last seen, it overlaps most; others take
    the lowest numbers that are free. A thing that is missed for some pictures finds its number
    again; one that moves by half its size between two pictures does not, nor do two things that
    pass through each other stay apart.
    """

    def __init__(self) -> None:
        """Begin with the next picture."""
        self._numbers = np.empty(0, np.int64)
        self._boxes = np.empty((0, 4), np.int64)
        self._missed = np.empty(0, np.int64)

    def number(self, boxes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return a number from 1 on for each box (K, 4), no number twice."""
        numbers = np.zeros(len(boxes), np.int64)
        same = overlaps(boxes, self._boxes)  # (K, M)
        while same.size and same.max() > SAME_THING:
            k, m = np.unravel_index(same.argmax(), same.shape)
            numbers[k] = self._numbers[m]
            same[k] = same[:, m] = 0
        self._missed += 1
        self._missed[np.isin(self._numbers, numbers)] = 0
        gone = (self._missed == 0) | (self._missed > FORGET)  # those seen come back below
        remembered = self._numbers[~gone]
        taken = {*numbers.tolist(), *remembered.tolist()}
        free = (n for n in range(1, len(boxes) + len(taken) + 1) if n not in taken)
        for k in np.flatnonzero(numbers == 0):
            numbers[k] = next(free)
        self._numbers = np.concatenate([numbers, remembered])
        self._boxes = np.concatenate([boxes, self._boxes[~gone]])
        self._missed = np.concatenate([np.zeros_like(numbers), self._missed[~gone]])
        return numbers


def _palette(colours: int) -> NDArray[np.uint8]:
    """Return (colours, 3): black, then hues that differ most from those shortly before.

    Each hue is the last one and the golden section of the circle, so that they never meet; three
    rows of lightness and saturation tell neighbours of a later round apart.
    """
    n = np.arange(colours)
    hue = n * (5**0.5 - 1) / 2 % 1
    saturation = np.array([1.0, 0.6, 0.9])[n % 3]
    value = np.array([1.0, 1.0, 0.65])[n % 3]
    # Each channel of the HSV cone is a trapezium over the hue, a third of the circle apart.
    ramp = np.abs((hue[:, None] + np.array([0, 2 / 3, 1 / 3])) % 1 * 6 - 3) - 1
    rgb = value[:, None] * (1 - saturation[:, None] * (1 - ramp.clip(0, 1)))
    rgb[0] = 0
    palette: NDArray[np.uint8] = (rgb * 255).round().astype(np.uint8)
    return palette


PALETTE = _palette(256)
"""(256, 3) uint8; see `colours`."""


def colours(labels: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return the colour of each label, (H, W, 3); 0 is black, and they repeat after 255."""
    which = np.where(labels == 0, 0, (labels - 1) % 255 + 1)
    found: NDArray[np.uint8] = PALETTE[which]
    return found
