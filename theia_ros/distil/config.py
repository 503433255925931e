"""Every setting of a distillation once: what decides the weights, beside pictures and teachers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import Field
from dataclasses import field
from dataclasses import fields
from typing import Any

from theia_ros.catalog import STUDENTS
from theia_ros.catalog import TARGETS
from theia_ros.errors import ParameterError


def _setting(
    default: Any,
    doc: str,
    choices: tuple[str, ...] = (),
    least: float = -math.inf,
    most: float = math.inf,
) -> Any:
    limits = {'choices': choices, 'least': least, 'most': most}
    return field(default=default, metadata={'doc': doc, **limits})


@dataclass(frozen=True)
class DistilConfig:
    """Settings of a run. A run that goes on must have the same ones."""

    teachers: tuple[str, ...] = _setting((), 'Keys of `TARGETS`, one head for each.')
    student: str = _setting('tiny', 'size of the student', tuple(STUDENTS))
    init: str = _setting(
        '', 'begin with this model, a name or a folder, and not from scratch; its size counts'
    )
    train: str = _setting(
        'all', 'what learns: all, or the heads on a frozen backbone', ('all', 'heads')
    )
    loss: str = _setting(
        'cos_l1',
        'for features: 0.9 cosine + 0.1 smooth L1 as published, or mse',
        ('cos_l1', 'mse'),
    )
    epochs: float = _setting(50.0, 'passes over the pictures', least=0.01)
    steps: int = _setting(0, 'updates of the weights; 0: as many as the epochs need', least=0)
    batch_size: int = _setting(16, 'pictures of one pass', least=1)
    accumulate: int = _setting(1, 'passes of one update', least=1)
    learning_rate: float = _setting(
        0.0, 'highest; 0: 2e-3 for 512 pictures of an update, in proportion', least=0
    )
    schedule: str = _setting(
        'constant', 'of the learning rate after the warm-up', ('constant', 'cosine')
    )
    warmup: float = _setting(
        0.1, 'part of the steps in which the learning rate rises', least=0, most=1
    )
    weight_decay: float = _setting(0.01, 'of AdamW, for tensors with two axes or more', least=0)
    precision: str = _setting('fp32', 'of the arithmetic', ('fp32', 'bf16', 'fp16'))
    seed: int = _setting(0, 'of first weights and of the order', least=0)
    held_out: float = _setting(
        0.1,
        'part of the pictures to judge by: of single pictures some, of videos and bags the end',
        least=0,
        most=0.9,
    )

    def __post_init__(self) -> None:
        """Refuse values that make no sense.

        Raises:
            ParameterError: One does; names it.
        """
        for one in fields(self):
            value, limits = getattr(self, one.name), one.metadata
            option = '--' + one.name.replace('_', '-')
            if limits['choices'] and value not in limits['choices']:
                raise ParameterError(f'{option} is {value!r}; use {", ".join(limits["choices"])}')
            in_range = (
                not isinstance(value, int | float) or limits['least'] <= value <= limits['most']
            )
            if not in_range:  # as with NaN
                raise ParameterError(f'{option} is {value}; use {_range(one)}')
        if not self.teachers:
            raise ParameterError('--teachers names none; use ' + ', '.join(TARGETS))
        for name in self.teachers:
            if name not in TARGETS:
                raise ParameterError(f'unknown teacher {name!r}; known: {", ".join(TARGETS)}')
        if len(set(self.teachers)) < len(self.teachers):
            raise ParameterError(f'--teachers names one twice: {", ".join(self.teachers)}')
        if self.train == 'heads' and not self.init:
            raise ParameterError(
                '--train heads needs a backbone that is trained; name it by --init'
            )

    def steps_for(self, pictures: int) -> int:
        """Return the updates of a run over this many pictures."""
        return self.steps or math.ceil(self.epochs * pictures / self.update_size)

    @property
    def update_size(self) -> int:
        """Pictures of one update."""
        return self.batch_size * self.accumulate

    @property
    def highest_rate(self) -> float:
        """The learning rate after the warm-up."""
        return self.learning_rate or 2e-3 * self.update_size / 512

    def entries(self) -> dict[str, Any]:
        """Return the settings as JSON has them."""
        return {**asdict(self), 'teachers': list(self.teachers)}


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return the first entry in which two runs differ, in words; empty when there is none."""
    for key in [*old, *new]:
        if old.get(key) != new.get(key):
            return f'{key} was {old.get(key)!r} and is {new.get(key)!r}'
    return ''


def _range(setting: Field[Any]) -> str:
    least, most = setting.metadata['least'], setting.metadata['most']
    return f'{least} or more' if most == math.inf else f'{least} to {most}'
