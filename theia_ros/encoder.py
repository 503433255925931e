"""The whole path of a picture: pixels, model input, tensors, features and maps.

The node, the command line and everything else that needs features go through `Encoder`; there is
no second path.
"""

from __future__ import annotations

import platform
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
from torch import Tensor

import theia_ros
from theia_ros import checkpoint
from theia_ros.catalog import BACKBONE
from theia_ros.catalog import find_model
from theia_ros.catalog import IMAGE_PX
from theia_ros.catalog import PATCH_PX
from theia_ros.catalog import TEACHERS
from theia_ros.datatypes import DecodedMap
from theia_ros.datatypes import Encoded
from theia_ros.datatypes import Features
from theia_ros.datatypes import Frame
from theia_ros.datatypes import Provenance
from theia_ros.datatypes import Recipe
from theia_ros.datatypes import TensorInfo
from theia_ros.decoders import Decoder
from theia_ros.decoders import open_decoders
from theia_ros.engine import Engine
from theia_ros.engine import open_engine
from theia_ros.errors import ParameterError
from theia_ros.model import CODE_VERSION
from theia_ros.model import reduce
from theia_ros.model import TOKEN_LAYOUT
from theia_ros.params import EncoderParams
from theia_ros.preprocess import covered_region
from theia_ros.preprocess import prepare
from theia_ros.timing import Stopwatch


class Encoder:
    """Make features and maps of pictures.

    Use it as a context manager or close it. Not for several threads at once.

    Attributes:
        params: What it was made from.
        provenance: Where its numbers come from.
        tensors: Names of the tensors that the model gives, `theia` first.
        maps: Names of the maps that can be decoded from them.
        max_batch: Most pictures of one call.
    """

    def __init__(self, params: EncoderParams) -> None:
        """Load the model, open the engine and encode a first picture.

        Raises:
            EngineError: The backend or the device cannot be had.
            ParameterError: The model is unknown.
            WeightsError: The model, or a part of it, is missing or does not fit.
        """
        self.params = params
        self._engine = open_engine(params)
        self._decoders = {
            name: decoder
            for decoder in open_decoders(self._engine.config, params)
            for name in decoder.maps
        }
        self.tensors = self._engine.config.tensors
        self.maps = tuple(self._decoders)
        self.max_batch = self._engine.max_batch
        # The first picture of an engine is slow; let it not be the camera's.
        blank = Frame(np.zeros((IMAGE_PX, IMAGE_PX, 3), np.uint8))
        self.provenance = _provenance(params, self._engine, self.encode([blank], self.tensors)[0])

    def encode(self, frames: Sequence[Frame], outputs: Collection[str]) -> list[Encoded]:
        """Encode pictures as one batch.

        Args:
            frames: One to `max_batch` pictures.
            outputs: Of `tensors` and `maps`; nothing else is computed.

        Returns:
            One record for each picture, in order.

        Raises:
            EngineError: The computation failed.
            FrameError: A picture does not suit the preprocessing.
            ParameterError: The model cannot give an output.
        """
        self._check(outputs)
        clock = Stopwatch()
        with clock.step('preprocess'):
            pixels = prepare([frame.rgb for frame in frames], self.params.preprocessing)
        with clock.step('compute'):
            # One decoder may make several of the maps.
            decoders = list({id(d): d for m, d in self._decoders.items() if m in outputs}.values())
            named = [name for name in self.tensors if name in outputs]
            found = self._engine.infer(pixels, {*named, *(d.tensor for d in decoders)})
        with clock.step('copy_back'):
            features = self._features(found, named, frames, pixels.shape[1:3])
        with clock.step('decode'):
            maps = self._maps(found, decoders, frames, outputs, pixels.shape[1:3])
        return [Encoded(f, m, clock.step_ms) for f, m in zip(features, maps, strict=True)]

    def close(self) -> None:
        """Give back the device's memory; closing twice is harmless."""
        self._engine.close()

    def __enter__(self) -> Encoder:
        """Return the encoder itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _check(self, outputs: Collection[str]) -> None:
        known = (*self.tensors, *self.maps)
        unknown = sorted(set(outputs) - set(known))
        if unknown:
            raise ParameterError(
                f'{self.params.model} does not give {unknown[0]!r}; it gives {", ".join(known)}'
            )

    def _features(
        self,
        found: Mapping[str, Tensor],
        named: Sequence[str],
        frames: Sequence[Frame],
        pixels_hw: tuple[int, ...],
    ) -> list[dict[str, Features]]:
        """Bring the tensors called `named` back to the host, as one record for each picture."""
        features: list[dict[str, Features]] = [{} for _ in frames]
        for name in named:
            tokens, grid_hw, view = found[name], _grid_hw(name, pixels_hw), _view(name)
            if name == BACKBONE:
                tokens = reduce(tokens, self.params.reduction)
                grid_hw = grid_hw if self.params.reduction == 'none' else (0, 0)
            arrays = tokens.cpu().numpy()
            for of_frame, frame, array in zip(features, frames, arrays, strict=True):
                region = covered_region(frame.image_hw, view)
                of_frame[name] = Features(
                    name, array, grid_hw, region, frame.stamp_ns, frame.frame_id
                )
        return features

    def _maps(
        self,
        found: Mapping[str, Tensor],
        decoders: Sequence[Decoder],
        frames: Sequence[Frame],
        outputs: Collection[str],
        pixels_hw: tuple[int, ...],
    ) -> list[dict[str, DecodedMap]]:
        """Let each decoder make its maps of all pictures."""
        maps: list[dict[str, DecodedMap]] = [{} for _ in frames]
        for decoder in decoders:
            tokens = found[decoder.tensor]
            if decoder.tensor == BACKBONE:
                tokens = reduce(tokens, 'none')
            grid_hw = _grid_hw(decoder.tensor, pixels_hw)
            grids = tokens.transpose(1, 2).reshape(len(frames), -1, *grid_hw)  # (B, C, h, w)
            decoded = decoder.decode(grids, frames, outputs)
            for of_frame, maps_of_frame in zip(maps, decoded, strict=True):
                of_frame.update(maps_of_frame)
        return maps


def _grid_hw(tensor: str, pixels_hw: tuple[int, ...]) -> tuple[int, int]:
    """Return rows and columns of a tensor's patch grid for model input of this size."""
    if tensor in TEACHERS:
        return TEACHERS[tensor].grid_hw
    return pixels_hw[0] // PATCH_PX, pixels_hw[1] // PATCH_PX


def _view(tensor: str) -> float:
    return TEACHERS[tensor].view if tensor in TEACHERS else 1.0


def _provenance(params: EncoderParams, engine: Engine, encoded: Encoded) -> Provenance:
    """Tell where the numbers come from; `encoded` is of any picture, with every tensor."""
    fake = engine.backend == 'fake'
    recipe = Recipe(
        weights_sha256='' if fake else checkpoint.weights_sha256(find_model(params.model)),
        code=CODE_VERSION,
        preprocessing=params.preprocessing,
        reduction=params.reduction,
        token_layout=TOKEN_LAYOUT[params.reduction],
        backend=engine.backend,
        precision=engine.precision,
    )
    return Provenance(
        recipe=recipe,
        model=params.model,
        revision='',
        engine_fingerprint=engine.fingerprint,
        device=engine.device,
        versions={
            'theia_ros': theia_ros.__version__,
            'python': platform.python_version(),
            **{name: version(name) for name in ('torch', 'numpy', 'pillow')},
        },
        tensors=tuple(
            TensorInfo(name, features.tokens.shape, features.grid_hw)
            for name, features in encoded.features.items()
        ),
    )
