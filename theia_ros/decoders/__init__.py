"""Decoders: what makes pictures of tensors. One list of openers, asked in turn."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path

from theia_ros.catalog import BACKBONE
from theia_ros.catalog import model_folder
from theia_ros.decoders.base import Decoder
from theia_ros.decoders.pca import PcaDecoder
from theia_ros.model import ModelConfig
from theia_ros.params import EncoderParams
from theia_ros.parts import read_statistics

__all__ = ['DECODERS', 'Decoder', 'open_decoders']


Opener = Callable[[ModelConfig, Path, EncoderParams], Decoder | None]


def _dinov2(config: ModelConfig, folder: Path, params: EncoderParams) -> Decoder:
    if 'dinov2' not in config.teachers:
        return PcaDecoder(BACKBONE, None, params.map_width_px)
    return PcaDecoder('dinov2', read_statistics(folder, 'dinov2'), params.map_width_px)


DECODERS: Mapping[str, Opener] = {'dinov2': _dinov2}


def open_decoders(config: ModelConfig, params: EncoderParams) -> list[Decoder]:
    """Open every decoder that the model has a head and the parts for.

    Raises:
        WeightsError: A part is damaged.
    """
    folder = model_folder(params.model)
    opened = (opener(config, folder, params) for opener in DECODERS.values())
    return [decoder for decoder in opened if decoder]
