"""The whole path of a picture: pixels, model input, tensors, features and maps.

The node, the command line and everything else that needs features go through `Encoder`; there is
no second path.
"""

from __future__ import annotations

import platform
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import fields
from dataclasses import replace
from importlib.metadata import version

import numpy as np
from torch import Tensor

import theia_ros
from theia_ros.catalog import BACKBONE
from theia_ros.catalog import IMAGE_PX
from theia_ros.catalog import model_folder
from theia_ros.catalog import PATCH_PX
from theia_ros.catalog import TARGETS
from theia_ros.catalog import WEIGHTS_FILE
from theia_ros.datatypes import DecodedMap
from theia_ros.datatypes import Encoded
from theia_ros.datatypes import Features
from theia_ros.datatypes import Frame
from theia_ros.datatypes import Provenance
from theia_ros.datatypes import Recipe
from theia_ros.datatypes import TensorInfo
from theia_ros.decoders import open_decoders
from theia_ros.engine import log_stage
from theia_ros.engine import machine
from theia_ros.engine import Report
from theia_ros.errors import ParameterError
from theia_ros.hub.store import read_records
from theia_ros.model import CODE_VERSION
from theia_ros.model import reduce
from theia_ros.model import TOKEN_LAYOUT
from theia_ros.params import EncoderParams
from theia_ros.parity import open_checked
from theia_ros.parity import Opened
from theia_ros.parity import Parity
from theia_ros.preprocess import covered_region
from theia_ros.squash import preparation
from theia_ros.timing import Stopwatch


@dataclass(frozen=True)
class Inferred:
    """What the engine made of a batch, on its device.

    Attributes:
        frames: The B pictures.
        tensors: (B, N, C) by name, as the engine gives them.
        pixels_hw: Rows and columns of the model's input.
        watch: Of the steps so far.
    """

    frames: tuple[Frame, ...]
    tensors: Mapping[str, Tensor]
    pixels_hw: tuple[int, int]
    watch: Stopwatch

    def one(self, i: int) -> Inferred:
        """Return what was made of picture `i`, as a batch of its own with its own watch."""
        tensors = {name: tensor[i : i + 1] for name, tensor in self.tensors.items()}
        return Inferred((self.frames[i],), tensors, self.pixels_hw, Stopwatch())


class Encoder:
    """Make features and maps of pictures.

    Use it as a context manager or close it. Not for several threads at once.

    Attributes:
        params: What it was made from.
        provenance: Where its numbers come from.
        tensors: Names of the tensors that the model gives, `theia` first.
        maps: Names of the maps that can be decoded from them.
        parity: How far each tensor is from the reference; empty for the fake.
        max_batch: Most pictures of one call.
    """

    def __init__(self, params: EncoderParams, report: Report = log_stage) -> None:
        """Load the model, open the engine, compare it and encode a first picture.

        Args:
            params: What to make it from.
            report: Is told what is being done; the first start may build for minutes.

        Raises:
            EngineError: The backend or the device cannot be had, or the engine is too far from
                the float32 reference.
            ParameterError: The model is unknown.
            WeightsError: The model, or a part of it, is missing or does not fit.
        """
        self.params = params
        opened = open_checked(params, report)
        self._engine = opened.engine
        self._prepare, note = preparation(
            params.preprocessing, self._engine.pixels_on, params.cuda_graphs
        )
        if note:
            opened = replace(opened, notes=(*opened.notes, note))
        self._decoders = {
            name: decoder
            for decoder in open_decoders(self._engine.config, params)
            for name in decoder.maps
        }
        self.tensors = self._engine.config.tensors
        self.maps = tuple(self._decoders)
        self.max_batch = self._engine.max_batch
        self.parity = opened.parity
        # The first picture of an engine is slow; let it not be the camera's.
        blank = Frame(np.zeros((IMAGE_PX, IMAGE_PX, 3), np.uint8))
        self.provenance = _provenance(params, opened, self.encode([blank], self.tensors)[0])

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
        inferred = self.infer(frames, outputs)
        features, maps = self.features(inferred, outputs), self.decode(inferred, outputs)
        step_ms = inferred.watch.step_ms
        return [Encoded(f, m, step_ms) for f, m in zip(features, maps, strict=True)]

    def infer(self, frames: Sequence[Frame], outputs: Collection[str]) -> Inferred:
        """Do the first step of `encode`: everything that the engine does."""
        self._check(outputs)
        watch = Stopwatch()
        with watch.step('preprocess'):
            pixels = self._prepare([frame.rgb for frame in frames])
        with watch.step('compute'):
            needed = {name for name in self.tensors if name in outputs}
            needed |= {self._decoders[name].tensor for name in self.maps if name in outputs}
            found = self._engine.infer(pixels, needed)
        return Inferred(tuple(frames), found, (pixels.shape[1], pixels.shape[2]), watch)

    def features(
        self, inferred: Inferred, outputs: Collection[str]
    ) -> list[Mapping[str, Features]]:
        """Do the second step of `encode`: bring the features of each picture to the host."""
        found: list[dict[str, Features]] = [{} for _ in inferred.frames]
        with inferred.watch.step('copy_back'):
            for name in self.tensors:
                if name in outputs:
                    for of_frame, features in zip(found, self._bring(inferred, name), strict=True):
                        of_frame[name] = features
        return list(found)

    def decode(
        self, inferred: Inferred, outputs: Collection[str]
    ) -> list[Mapping[str, DecodedMap]]:
        """Do the last step of `encode`: make the maps of each picture, which may be slow.

        It may run in another thread than the first two, while they go on with other pictures.
        """
        found: list[dict[str, DecodedMap]] = [{} for _ in inferred.frames]
        # One decoder may make several of the maps.
        decoders = {id(self._decoders[m]): self._decoders[m] for m in self.maps if m in outputs}
        with inferred.watch.step('decode'):
            for decoder in decoders.values():
                grids = _on_grid(inferred, decoder.tensor)
                decoded = decoder.decode(grids, inferred.frames, outputs)
                for of_frame, maps in zip(found, decoded, strict=True):
                    of_frame.update(maps)
        return list(found)

    def use(self, params: EncoderParams) -> None:
        """Go on with other values of the live parameters, from any thread.

        Raises:
            ParameterError: A parameter differs that is not live.
        """
        for f in fields(EncoderParams):
            if not f.metadata['live'] and getattr(params, f.name) != getattr(self.params, f.name):
                raise ParameterError(f'{f.name} cannot change while the encoder is open')
        self.params = params
        for decoder in self._decoders.values():
            decoder.use(params)

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

    def _bring(self, inferred: Inferred, name: str) -> Iterator[Features]:
        """Give one tensor of each picture, on the host."""
        tokens, grid_hw, view = inferred.tensors[name], _grid_hw(name, inferred.pixels_hw), 1.0
        if name == BACKBONE:
            tokens = reduce(tokens, self.params.reduction)
            grid_hw = grid_hw if self.params.reduction == 'none' else (0, 0)
        else:
            view = TARGETS[name].view
        for array, frame in zip(tokens.cpu().numpy(), inferred.frames, strict=True):
            region = covered_region(frame.image_hw, view)
            yield Features(name, array, grid_hw, region, frame.stamp_ns, frame.frame_id)


def _on_grid(inferred: Inferred, tensor: str) -> Tensor:
    """Return a tensor on its patch grid, (B, C, h, w), without CLS."""
    tokens = inferred.tensors[tensor]
    if tensor == BACKBONE:
        tokens = reduce(tokens, 'none')
    grid_hw = _grid_hw(tensor, inferred.pixels_hw)
    return tokens.transpose(1, 2).reshape(len(tokens), -1, *grid_hw)


def _grid_hw(tensor: str, pixels_hw: tuple[int, int]) -> tuple[int, int]:
    """Return rows and columns of a tensor's patch grid for model input of this size."""
    if tensor in TARGETS:
        return TARGETS[tensor].grid_hw
    return pixels_hw[0] // PATCH_PX, pixels_hw[1] // PATCH_PX


# What computes beside torch, as it is called on the package index.
_RUNTIMES = {
    'openvino': ('openvino',),
    'tensorrt': ('torch-tensorrt', 'torch-tensorrt-rtx', 'tensorrt', 'tensorrt-rtx-cu13'),
}


def _provenance(params: EncoderParams, opened: Opened, encoded: Encoded) -> Provenance:
    """Tell where the numbers come from; `encoded` is of any picture, with every tensor."""
    engine = opened.engine
    recipe = Recipe(
        weights_sha256=opened.weights_sha256,
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
        revision=_revision(params.model, opened.weights_sha256),
        engine_fingerprint=engine.fingerprint,
        device=engine.device,
        versions={
            'theia_ros': theia_ros.__version__,
            'python': platform.python_version(),
            **{name: version(name) for name in ('torch', 'numpy', 'pillow')},
            **machine.versions(*_RUNTIMES.get(engine.backend, ())),
        },
        tensors=tuple(
            _tensor_info(features, opened.parity.get(name))
            for name, features in encoded.features.items()
        ),
        notes=opened.notes,
    )


def _revision(model: str, weights_sha256: str) -> str:
    """Return the commit that the weights were fetched from; empty when it is not known."""
    record = read_records(model_folder(model)).get(WEIGHTS_FILE)
    if not record or record.sha256 != weights_sha256:
        return ''
    return record.revision or ''


def _tensor_info(features: Features, parity: Parity | None) -> TensorInfo:
    n, c = features.tokens.shape
    info = TensorInfo(features.name, (n, c), features.grid_hw)
    if not parity:
        return info
    return replace(info, cosine=parity.cosine, max_abs_error=parity.max_abs_error)
