"""What belongs to a model, and where it is published."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from theia_ros.catalog import APACHE
from theia_ros.catalog import cache_folder
from theia_ros.catalog import CONFIG_FILE
from theia_ros.catalog import Licence
from theia_ros.catalog import model_folder
from theia_ros.catalog import MODELS
from theia_ros.catalog import TEACHERS
from theia_ros.catalog import THEIA_LICENCE
from theia_ros.catalog import WEIGHTS_FILE

DEMO = 'demo-dinov2-small'
"""The one model that is made here from a python package, and not downloaded as it is."""
STATISTICS_REPO = 'rai-opensource/theia'
STATISTICS_REVISION = '59d0448f0c917f5c523142096ee608963012a8d2'


def hub_url() -> str:
    """Return the address of the hub: that of `HF_ENDPOINT`, else of Hugging Face."""
    return (os.environ.get('HF_ENDPOINT') or 'https://huggingface.co').rstrip('/')


def github_url() -> str:
    """Return the address of raw files: that of `THEIA_ROS_GITHUB`, else of GitHub."""
    chosen = os.environ.get('THEIA_ROS_GITHUB')
    return (chosen or 'https://raw.githubusercontent.com').rstrip('/')


@dataclass(frozen=True)
class Asset:
    """A file of the cache, and where it comes from.

    Attributes:
        place: Its path below the cache folder; a whole one, if it comes with this package.
        repo: Name of the repository that publishes it.
        base: Address of the repository's files, without the revision.
        file: Its path there.
        licence: Of its content.
        revision: What is asked for; a branch becomes a commit at the download.
        sha256: Of the only content that is accepted. Without one, the first download decides.
        size: In bytes, where it is known beforehand.
        tensors: Names, or beginnings of names that end with a dot, of the tensors that are taken
            from a safetensors file; empty is the whole file.
        numbers: How many numbers it is known to hold.
    """

    place: str
    repo: str
    base: str
    file: str
    licence: Licence
    revision: str = 'main'
    sha256: str | None = None
    size: int | None = None
    tensors: tuple[str, ...] = ()
    numbers: int | None = None

    @property
    def path(self) -> Path:
        """Where it is on this machine, or would be."""
        return cache_folder() / self.place

    def url(self, revision: str | None = None) -> str:
        """Return its address, of another revision if one is named."""
        return f'{self.base}/{quote(revision or self.revision, safe="")}/{quote(self.file)}'


@dataclass(frozen=True)
class DecoderSource:
    """Tensors of a teacher that turn its features into a map.

    Attributes:
        tensors: See `Asset.tensors`.
        numbers: How many numbers they hold.
        licence: Of the teacher's weights.
    """

    tensors: tuple[str, ...]
    numbers: int
    licence: Licence = APACHE


DECODER_SOURCES: Mapping[str, DecoderSource] = {
    'sam': DecoderSource(
        ('mask_decoder.', 'prompt_encoder.', 'shared_image_embedding.'), 4_065_072
    ),
    'depth_anything': DecoderSource(('head.conv3.weight', 'head.conv3.bias'), 33),
}
"""By teacher."""

STATISTICS_SHA256: Mapping[str, str] = {
    'imagenet_mean_google_vit-huge-patch14-224-in21k.npy': (
        'd29281d547622ec62f69001069b455dff72b6218bebef6275aebe75412be22f8'
    ),
    'imagenet_var_google_vit-huge-patch14-224-in21k.npy': (
        '831f761d5b8d04a09c8098e176d49e80804cabbd1ab230798d161a6055863032'
    ),
    'imagenet_mean_facebook_dinov2-large.npy': (
        '1b255255724a9ac01f8b12fbed609819f614c7f6b985fe3186724f38f5bb0555'
    ),
    'imagenet_var_facebook_dinov2-large.npy': (
        '78f0dc635b6d9724d21e7188d5a032b2130fc4655159b871bb65a8d141f3a71e'
    ),
    'imagenet_mean_openai_clip-vit-large-patch14.npy': (
        '2d644ebac3d3d1741ab5200c2c26268df754aae3e439edfa6dc0a59099836820'
    ),
    'imagenet_var_openai_clip-vit-large-patch14.npy': (
        'b8218606db8be7dfba6bf1fa8d9c48e02fe2b56b27a74156301575d8379d99b5'
    ),
    'imagenet_mean_facebook_sam-vit-huge.npy': (
        'eb6b59b7a41eaf5379ce5df36bfa54badece749b6048e2da44b5deaedaee4e19'
    ),
    'imagenet_var_facebook_sam-vit-huge.npy': (
        '3b54fdc26dc74b9b104a0c11a2020968c5d32756d327806b3d058e1d9a5b5864'
    ),
    'imagenet_mean_LiheYoung_depth-anything-large-hf.npy': (
        '308cc176e8f09966e07d97555b1236015683c8e69dac66a7864135fcc62756a3'
    ),
    'imagenet_var_LiheYoung_depth-anything-large-hf.npy': (
        '66d605ff90a89bd7f411f2783c0776a569ff0825de625c450dbb635f45998bd6'
    ),
}
"""By file name. They are fixed: the published weights were trained with these and no others."""


def model_assets(name: str) -> tuple[Asset, ...]:
    """Return the files of a model that are compared, the weights last: they make it complete.

    Of one that is not fetched, only the weights are known.
    """
    model = MODELS[name]
    if model.shipped or name == DEMO:
        weights = Asset(
            place=str(model_folder(name) / WEIGHTS_FILE),
            repo=model.source,
            base='',
            file=WEIGHTS_FILE,
            licence=APACHE,
            revision='',
            sha256=model.sha256,
            size=model.size,
        )
        return (weights,)
    base = f'{hub_url()}/{model.source}/resolve'
    config, weights = (
        Asset(f'models/{name}/{file}', model.source, base, file, THEIA_LICENCE, numbers=numbers)
        for file, numbers in ((CONFIG_FILE, None), (WEIGHTS_FILE, model.parameters))
    )
    return config, weights


def decoder_asset(teacher: str) -> Asset:
    """Return the decoder of a teacher of `DECODER_SOURCES`."""
    source, repo = DECODER_SOURCES[teacher], TEACHERS[teacher].key
    return Asset(
        place=f'decoders/{teacher}.safetensors',
        repo=repo,
        base=f'{hub_url()}/{repo}/resolve',
        file=WEIGHTS_FILE,
        licence=source.licence,
        tensors=source.tensors,
        numbers=source.numbers,
    )


def statistics_assets(teacher: str) -> tuple[Asset, ...]:
    """Return mean and deviation of a teacher's features."""
    stem = TEACHERS[teacher].key.replace('/', '_')
    return tuple(
        Asset(
            place=f'statistics/{file}',
            repo=STATISTICS_REPO,
            base=f'{github_url()}/{STATISTICS_REPO}',
            file=f'feature_stats/{file}',
            licence=THEIA_LICENCE,
            revision=STATISTICS_REVISION,
            sha256=STATISTICS_SHA256[file],
        )
        for file in (f'imagenet_mean_{stem}.npy', f'imagenet_var_{stem}.npy')
    )


def decoding_assets(name: str) -> tuple[Asset, ...]:
    """Return what decoding a model's heads needs beside the model; one that is shipped has it."""
    teachers = () if MODELS[name].shipped else MODELS[name].teachers
    decoders = [decoder_asset(teacher) for teacher in teachers if teacher in DECODER_SOURCES]
    statistics = [asset for teacher in teachers for asset in statistics_assets(teacher)]
    return (*decoders, *statistics)
