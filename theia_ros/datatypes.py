"""The records that travel from room to room.

Axes, everywhere in this package: B pictures, H and W rows and columns of pixels, N tokens,
C channels, h and w rows and columns of a patch grid with h * w == N. Rows come before columns.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theia_ros.errors import FrameError


@dataclass(frozen=True)
class Frame:
    """A camera picture.

    Attributes:
        rgb: (H, W, 3) uint8, red first.
        stamp_ns: Capture time, nanoseconds.
        frame_id: Optical frame of the camera.
        camera: Name by which pictures of one camera belong together.
    """

    rgb: NDArray[np.uint8]
    stamp_ns: int = 0
    frame_id: str = ''
    camera: str = ''

    def __post_init__(self) -> None:
        """Refuse anything but a colour picture with at least one pixel."""
        shape, dtype = self.rgb.shape, self.rgb.dtype
        if dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise FrameError(
                'shape', f'expected an (H, W, 3) uint8 picture, found {shape} {dtype}'
            )

    @property
    def image_hw(self) -> tuple[int, int]:
        """Rows and columns of the picture."""
        return self.rgb.shape[0], self.rgb.shape[1]


@dataclass(frozen=True)
class Region:
    """A rectangle of source pixels."""

    x_px: int
    y_px: int
    width_px: int
    height_px: int


@dataclass(frozen=True)
class Features:
    """One tensor of one picture.

    Attributes:
        name: `theia` for the backbone, else the teacher's name.
        tokens: (N, C) float32, row-major over the grid; (1, C) when pooled.
        grid_hw: Rows and columns of the patch grid; (0, 0) when the tokens lie on none,
            because they are pooled or the CLS token is among them.
        region: Pixels of the source picture that the tokens describe.
        stamp_ns: Capture time of the source picture, nanoseconds.
        frame_id: Optical frame of the source picture.
    """

    name: str
    tokens: NDArray[np.float32]
    grid_hw: tuple[int, int]
    region: Region
    stamp_ns: int = 0
    frame_id: str = ''

    def as_map(self) -> NDArray[np.float32]:
        """Return the same numbers as a (C, h, w) view.

        Raises:
            ValueError: The tokens lie on no grid.
        """
        h, w = self.grid_hw
        if not h * w:
            raise ValueError(f'the {len(self.tokens)} tokens of {self.name} lie on no grid')
        grid: NDArray[np.float32] = self.tokens.T.reshape(-1, h, w)
        return grid


@dataclass(frozen=True)
class DecodedMap:
    """A picture made from features, in the full view of the camera.

    Attributes:
        name: Its topic below the camera's, such as `depth/image`.
        values: (H, W, 3) uint8 for `rgb8`, (H, W) float32 for `32FC1`, (H, W) uint16 for `16UC1`.
        encoding: As in sensor_msgs/Image.
        stamp_ns: Capture time of the source picture, nanoseconds.
        frame_id: Optical frame of the source picture.
    """

    name: str
    values: NDArray[Any]
    encoding: str
    stamp_ns: int = 0
    frame_id: str = ''


@dataclass(frozen=True)
class Encoded:
    """All that was asked of one picture.

    Attributes:
        features: By tensor name.
        maps: By map name.
        step_ms: How long each step took for the whole batch, milliseconds.
    """

    features: Mapping[str, Features]
    maps: Mapping[str, DecodedMap]
    step_ms: Mapping[str, float]


@dataclass(frozen=True)
class TensorInfo:
    """Shape of a tensor, and how far it is from the reference.

    Attributes:
        name: `theia` or a teacher's name.
        shape: (N, C).
        grid_hw: As in `Features`.
        cosine: Similarity to the float32 reference on built-in pictures; NaN when not measured.
        max_abs_error: Largest difference to the same; NaN when not measured.
    """

    name: str
    shape: tuple[int, int]
    grid_hw: tuple[int, int]
    cosine: float = float('nan')
    max_abs_error: float = float('nan')


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the numbers of the features, up to rounding.

    Attributes:
        weights_sha256: Of the file with the weights.
        code: Version of the model's arithmetic in this package.
        preprocessing: Name of the preset.
        reduction: Of the backbone's tokens.
        token_layout: Order of the backbone's tokens after the reduction, for people.
        backend: What runs the model.
        precision: Its arithmetic.
    """

    weights_sha256: str
    code: str
    preprocessing: str
    reduction: str
    token_layout: str
    backend: str
    precision: str

    @property
    def digest(self) -> str:
        """Sha256 of the recipe, in hexadecimal."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Provenance:
    """Where numbers come from: how they are made, and on what.

    Two machines with the same recipe give the same features up to the rounding of their
    arithmetic, so the device and the versions are told but are not part of the digest.

    Attributes:
        recipe: What decides the numbers.
        model: Name or folder of the model.
        revision: Of the weights at their source; empty when not known.
        engine_fingerprint: Of a built engine; empty when none was built.
        device: What it runs on.
        versions: Of the libraries that take part.
        tensors: All that the encoder can give.
        notes: What people should know: why a backend was chosen, what was fallen back to.
    """

    recipe: Recipe
    model: str
    revision: str
    engine_fingerprint: str
    device: str
    versions: Mapping[str, str]
    tensors: tuple[TensorInfo, ...]
    notes: tuple[str, ...] = ()
