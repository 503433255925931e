"""Every parameter once: name, type, default, meaning, limits, and whether it may change live.

`EncoderParams` are those of the encoder, wherever it runs; `NodeParams` adds those of the node.
The node declares them from here, and `config/theia.yaml` and the table in `docs/node.md` are
generated from here too (`python -m theia_ros.params yaml|table`), which a test compares.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import Field
from dataclasses import field
from dataclasses import fields
from dataclasses import MISSING
from typing import Any
from typing import TypeVar

from theia_ros.errors import ParameterError


def _param(
    default: Any,
    doc: str,
    *,
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    live: bool = False,
) -> Any:
    """Describe a parameter; a list is given as a tuple."""
    return field(
        default=default,
        metadata={
            'doc': doc,
            'choices': choices,
            'minimum': minimum,
            'maximum': maximum,
            'live': live,
        },
    )


@dataclass(frozen=True)
class EncoderParams:
    """What an `Encoder` is made from.

    Raises:
        ParameterError: A value is outside its limits.
    """

    model: str = _param(
        'demo-dinov2-small',
        'Name of a model (`theia-ros models` lists them) or a folder with `config.json` and '
        '`model.safetensors`.',
    )
    backend: str = _param(
        'auto',
        'What runs the model; `auto` takes the best that this machine has.',
        choices=('auto', 'tensorrt', 'torch', 'openvino', 'fake'),
    )
    precision: str = _param(
        'auto',
        'Arithmetic of the engine; `auto` takes the one that the backend is best at.',
        choices=('auto', 'fp32', 'fp16', 'bf16'),
    )
    device: str = _param('auto', 'Where the model runs: `auto`, `cpu`, `cuda` or `cuda:N`.')
    max_batch: int = _param(
        8,
        'Most pictures of one pass of the model, such as the number of cameras; built engines '
        'take any number up to it.',
        minimum=1,
        maximum=64,
    )
    engine_cache: str = _param(
        '', "Folder for built engines; empty is `engines` in the user's cache."
    )
    on_parity_failure: str = _param(
        'refuse',
        'What to do with an engine that is too far from the float32 reference: `refuse` it, or '
        '`fallback` to the reference, which is slow.',
        choices=('refuse', 'fallback'),
    )
    cuda_graphs: bool = _param(
        True, 'Record the work of a pass once and replay it, where the backend runs on CUDA.'
    )
    preprocessing: str = _param(
        'official',
        "How a picture becomes the model's input; `official` equals the published code bit for "
        "bit, `native` keeps the picture's size.",
        choices=('official', 'native'),
    )
    reduction: str = _param(
        'none',
        "Of the backbone's tokens: `none` keeps the patch tokens, `cls` keeps the CLS token, "
        '`mean` and `max` pool the patch tokens, `identity` keeps CLS and patch tokens.',
        choices=('none', 'cls', 'mean', 'max', 'identity'),
    )
    map_width_px: int = _param(
        640,
        'Largest width of the decoded maps, pixels; narrower cameras keep their own width, and '
        'the height follows the camera.',
        minimum=16,
        maximum=8192,
        live=True,
    )
    segmentation_points_per_side: int = _param(
        6,
        'Points of the grid that segmentation asks about, along each side; things smaller than '
        'the distance of two points may be missed. Cost grows with the square: a point takes one '
        'core of a CPU 15 to 30 ms. The published example uses 32.',
        minimum=1,
        maximum=32,
        live=True,
    )
    segmentation_points_per_batch: int = _param(
        0,
        'Points that segmentation asks about at once, at some 40 MB each; 0 takes what suits the '
        'device.',
        minimum=0,
        maximum=1024,
        live=True,
    )
    segmentation_iou_threshold: float = _param(
        0.5,
        'Segmentation keeps masks whose predicted quality is above this; 0 keeps all.',
        minimum=0.0,
        maximum=1.0,
        live=True,
    )
    segmentation_stability_threshold: float = _param(
        0.7,
        'Segmentation keeps masks of which more than this part is left when they are cut at a '
        'logit of 1 and not of -1; 0 keeps all.',
        minimum=0.0,
        maximum=1.0,
        live=True,
    )

    def __post_init__(self) -> None:
        """Refuse values outside their limits."""
        for f in fields(self):
            _check(f, getattr(self, f.name))


@dataclass(frozen=True)
class NodeParams(EncoderParams):
    """What the encoder node is made from.

    Raises:
        ParameterError: A value is outside its limits, or the lists do not fit.
    """

    autostart: bool = _param(False, 'Configure and activate at once, without a lifecycle manager.')
    cameras: tuple[str, ...] = _param(
        ('camera',), 'A name for each camera; topics are called after it.'
    )
    image_topics: tuple[str, ...] = _param(
        ('/camera/image_raw',),
        'Topic of each camera, in the same order; one that ends in `/compressed` carries '
        'CompressedImage, any other Image.',
    )
    feature_dtype: str = _param(
        'float32',
        'Number format of the published features.',
        choices=('float32', 'float16'),
    )
    image_reliability: str = _param(
        'best_effort',
        'Quality of service asked of the cameras; `best_effort` matches every camera.',
        choices=('best_effort', 'reliable'),
    )
    image_depth: int = _param(
        5,
        'Pictures that the middleware keeps for each camera until the node takes them; with too '
        'few, some are lost before they can be counted.',
        minimum=1,
        maximum=100,
    )
    output_reliability: str = _param(
        'reliable',
        'Quality of service offered to subscribers; `reliable` matches every subscriber.',
        choices=('reliable', 'best_effort'),
    )
    output_depth: int = _param(
        1, 'Messages that the middleware keeps for each output.', minimum=1, maximum=100
    )
    max_rate_hz: tuple[float, ...] = _param(
        (0.0,),
        'Most pictures of a camera that are encoded in a second, one value for all cameras or one '
        'for each; 0 is no limit.',
        minimum=0.0,
        maximum=1000.0,
        live=True,
    )
    max_age_ms: float = _param(
        0.0,
        'Pictures whose stamp is older than this when their turn comes are dropped; 0 is no '
        'limit.',
        minimum=0.0,
        maximum=3_600_000.0,
        live=True,
    )
    synchronize: bool = _param(
        False,
        'Encode only pictures that all cameras took at one instant, and publish their features '
        'together on `~/features` as well.',
    )
    sync_tolerance_ms: float = _param(
        20.0,
        'Largest difference of the stamps of one instant.',
        minimum=0.0,
        maximum=10_000.0,
    )
    no_image_warning_s: float = _param(
        5.0,
        'A camera without a picture for so many seconds is warned about; 0 is never.',
        minimum=0.0,
        maximum=3600.0,
        live=True,
    )

    def __post_init__(self) -> None:
        """Refuse values outside their limits, and lists that do not fit."""
        super().__post_init__()
        if not self.cameras:
            raise ParameterError('cameras is empty; name at least one, such as [front]')
        if len(self.cameras) != len(self.image_topics):
            raise ParameterError(
                f'cameras names {len(self.cameras)} and image_topics {len(self.image_topics)}; '
                'give one topic for each camera'
            )
        if len(self.max_rate_hz) not in (1, len(self.cameras)):
            raise ParameterError(
                f'max_rate_hz has {len(self.max_rate_hz)} values; give one, or one for each of '
                f'the {len(self.cameras)} cameras'
            )
        for camera in self.cameras:
            if not (camera.isascii() and camera.isidentifier()):
                raise ParameterError(
                    f'camera {camera!r} cannot be part of a topic; use letters, digits and _'
                )
        twice = sorted({c for c in self.cameras if self.cameras.count(c) > 1})
        if twice:
            raise ParameterError(f'camera {twice[0]} is named twice; names must differ')


P = TypeVar('P', bound=EncoderParams)


def make(kind: type[P], values: Mapping[str, Any]) -> P:
    """Return parameters with `values`, the others at their defaults.

    Raises:
        ParameterError: A name is unknown, or a value is outside its limits.
    """
    known = {f.name for f in fields(kind)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ParameterError(
            f'unknown parameter {unknown[0]!r}; known: {", ".join(sorted(known))}'
        )
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return kind(**given)


def choices(name: str) -> tuple[str, ...]:
    """Return the values that the parameter called `name` may have, for those that have few."""
    found: tuple[str, ...] = {f.name: f for f in fields(NodeParams)}[name].metadata['choices']
    return found


def _check(f: Field[Any], value: Any) -> None:
    """Refuse a value that its field does not allow."""
    if isinstance(f.default, tuple):
        if not isinstance(value, tuple):
            raise ParameterError(f'{f.name} is {value!r}; expected {_type_name(f)}')
        for item in value:
            _check_one(f, f.default[0], item)
    else:
        _check_one(f, f.default, value)


def _check_one(f: Field[Any], example: object, value: Any) -> None:
    """Refuse a value, or an item of one, that is not like `example` or outside the limits."""
    expected = type(example)
    if expected is float and type(value) is int:
        value = float(value)
    if type(value) is not expected:
        raise ParameterError(f'{f.name} is {value!r}; expected {_type_name(f)}')
    allowed = f.metadata['choices']
    if allowed and value not in allowed:
        raise ParameterError(f'{f.name} is {value!r}; use one of {", ".join(allowed)}')
    low, high = f.metadata['minimum'], f.metadata['maximum']
    if low is not None and not low <= value <= high:
        raise ParameterError(f'{f.name} is {value}; use {low} to {high}')


def _type_name(f: Field[Any]) -> str:
    assert f.default is not MISSING
    names = {str: 'a string', bool: 'true or false', int: 'an integer', float: 'a number'}
    if isinstance(f.default, tuple):
        return 'a list of strings' if isinstance(f.default[0], str) else 'a list of numbers'
    return names[type(f.default)]


def _yaml_value(value: Any) -> str:
    if isinstance(value, tuple):
        return '[' + ', '.join(map(str, value)) + ']'
    return str(value).lower() if isinstance(value, bool) else str(value) or "''"


def as_yaml() -> str:
    """Return a parameter file with every default and its meaning."""
    lines = [
        '# Every parameter of the encoder node with its default.',
        '# Generated from theia_ros/params.py by: python -m theia_ros.params yaml',
        '/**:',
        '  ros__parameters:',
    ]
    for f in fields(NodeParams):
        text = f.metadata['doc'].replace('`', '')
        if f.metadata['choices']:
            text += f' One of: {", ".join(f.metadata["choices"])}.'
        lines += [f'    # {line}' for line in textwrap.wrap(text, 90)]
        lines.append(f'    {f.name}: {_yaml_value(f.default)}')
    return '\n'.join(lines) + '\n'


def as_table() -> str:
    """Return the parameters as a table in Markdown."""
    lines = ['| parameter | default | live | meaning |', '|---|---|---|---|']
    for f in fields(NodeParams):
        meta = f.metadata
        meaning = meta['doc']
        if meta['choices']:
            meaning += f' One of {", ".join(f"`{c}`" for c in meta["choices"])}.'
        if meta['minimum'] is not None:
            meaning += f' From {meta["minimum"]} to {meta["maximum"]}.'
        live = 'yes' if meta['live'] else 'no'
        lines.append(f'| `{f.name}` | `{_yaml_value(f.default)}` | {live} | {meaning} |')
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    sys.stdout.write({'yaml': as_yaml, 'table': as_table}[sys.argv[1]]())
