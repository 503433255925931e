"""Decoders: what makes pictures of tensors. One list of openers, asked in turn."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path

from theia_ros.catalog import BACKBONE
from theia_ros.catalog import model_folder
from theia_ros.decoders import depth
from theia_ros.decoders import sam
from theia_ros.decoders.base import Decoder
from theia_ros.decoders.classes import ClassesDecoder
from theia_ros.decoders.depth import DepthDecoder
from theia_ros.decoders.depth import LogDepthHead
from theia_ros.decoders.pca import PcaDecoder
from theia_ros.decoders.segmentation import SegmentationDecoder
from theia_ros.model import ModelConfig
from theia_ros.params import EncoderParams
from theia_ros.parts import find_part
from theia_ros.parts import read_statistics
from theia_ros.parts import Statistics

__all__ = ['DECODERS', 'Decoder', 'open_decoders']

Opener = Callable[[ModelConfig, Path, EncoderParams], Decoder | None]


def _dinov2(config: ModelConfig, folder: Path, params: EncoderParams) -> Decoder:
    for name in ('dinov2', 'dinov2_small'):
        if name in config.teachers:
            return PcaDecoder(name, read_statistics(folder, name), params.map_width_px)
    return PcaDecoder(BACKBONE, None, params.map_width_px)


def _depth(config: ModelConfig, folder: Path, params: EncoderParams) -> Decoder | None:
    if found := _parts(config, folder, 'depth_anything'):
        statistics, part = found
        return DepthDecoder(statistics, depth.load(part), params.map_width_px)
    if 'depth' in config.teachers and (own := read_statistics(folder, 'depth')):
        return DepthDecoder(own, LogDepthHead(), params.map_width_px)
    return None


def _segmentation(config: ModelConfig, folder: Path, params: EncoderParams) -> Decoder | None:
    if found := _parts(config, folder, 'sam'):
        statistics, part = found
        return SegmentationDecoder(statistics, sam.load(part), params)
    return ClassesDecoder(params.map_width_px) if 'classes' in config.teachers else None


def _parts(config: ModelConfig, folder: Path, teacher: str) -> tuple[Statistics, Path] | None:
    """Return statistics and weights of a teacher's own decoder, if the model has such a head."""
    if teacher not in config.teachers:
        return None
    statistics = read_statistics(folder, teacher)
    part = find_part(folder, f'decoders/{teacher}.safetensors')
    return (statistics, part) if statistics and part else None


DECODERS: Mapping[str, Opener] = {
    'dinov2': _dinov2,
    'depth': _depth,
    'segmentation': _segmentation,
}


def open_decoders(config: ModelConfig, params: EncoderParams) -> list[Decoder]:
    """Open every decoder that the model has a head and the parts for.

    Raises:
        WeightsError: A part is damaged.
    """
    folder = model_folder(params.model)
    opened = (opener(config, folder, params) for opener in DECODERS.values())
    return [decoder for decoder in opened if decoder]
