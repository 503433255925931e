"""A model with everything that decoding needs, and what its heads say of the goldens' picture."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from helpers import synthetic
from torch import Tensor

from theia_ros.datatypes import Frame
from theia_ros.decoders import sam
from theia_ros.decoders.sam import SamDecoder
from theia_ros.encoder import Encoder
from theia_ros.params import EncoderParams
from theia_ros.parts import read_statistics

PICTURE = 'scene_480x640'
"""The picture of the goldens of all decoders."""


@pytest.fixture(scope='session')
def whole_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with statistics and decoder parts."""
    folder = Path(shutil.copytree(tiny_folder, tmp_path_factory.mktemp('whole') / 'model'))
    synthetic.write_statistics(folder)
    synthetic.write_decoder_parts(folder)
    return folder


@pytest.fixture(scope='session')
def predicted(tiny_folder: Path) -> dict[str, Tensor]:
    """By teacher, what the heads give for the picture, (1, N, C), normalised."""
    frame = Frame(synthetic.golden_rule.image(PICTURE))
    with Encoder(EncoderParams(model=str(tiny_folder), backend='torch', device='cpu')) as encoder:
        features = encoder.encode([frame], encoder.tensors)[0].features
    return {name: torch.from_numpy(f.tokens)[None] for name, f in features.items()}


@pytest.fixture(scope='session')
def network(whole_folder: Path) -> SamDecoder:
    return sam.load(whole_folder / 'decoders' / 'sam.safetensors')


@pytest.fixture(scope='session')
def embedding(whole_folder: Path, predicted: dict[str, Tensor]) -> Tensor:
    """The image embedding of the picture, (256, 64, 64), de-normalised."""
    statistics = read_statistics(whole_folder, 'sam')
    assert statistics
    return statistics.denormalise(predicted['sam'])[0].T.reshape(256, 64, 64)
