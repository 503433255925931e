"""Where features come from, as a record to keep with a policy, and what differs between two."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import fields
from typing import Any

from theia_ros.errors import ParameterError

_DIGEST = re.compile(r'[0-9a-f]{64}')

# Fields that decide the numbers. The digest covers these, and the version of the arithmetic, which
# an EncoderInfo does not tell.
_DECIDING = (
    'weights_sha256',
    'preprocessing',
    'reduction',
    'token_layout',
    'backend',
    'precision',
)


@dataclass(frozen=True)
class Origin:
    """What an EncoderInfo tells of the numbers; see EncoderInfo.msg.

    Attributes:
        digest: Over everything that decides the numbers. Features of two origins can be mixed
            where it is the same, whatever else differs.
        model: Name of the model, for people.
        revision: Of the weights where they came from, for people.
        weights_sha256: Of the file with the weights.
        preprocessing: Name of the preset.
        reduction: Of the backbone's tokens.
        token_layout: Order of the tokens.
        backend: What ran the model.
        precision: Its arithmetic.
        version: Of theia_ros.
    """

    digest: str
    model: str = ''
    revision: str = ''
    weights_sha256: str = ''
    preprocessing: str = ''
    reduction: str = ''
    token_layout: str = ''
    backend: str = ''
    precision: str = ''
    version: str = ''

    def __post_init__(self) -> None:
        """Refuse what is no digest.

        Raises:
            ParameterError: It is none.
        """
        if not is_digest(self.digest):
            raise ParameterError(
                f'a digest is {self.digest!r}; expected 64 lower-case hexadecimal digits, as in '
                'EncoderInfo.digest'
            )

    @classmethod
    def of(cls, info: Any) -> Origin:
        """Return what an EncoderInfo tells, from rclpy or from a bag.

        Raises:
            ParameterError: Its digest is none.
        """
        versions = dict(entry.partition('=')[::2] for entry in info.versions)
        same = {f.name: getattr(info, f.name) for f in fields(cls) if f.name != 'version'}
        return cls(**same, version=versions.get('theia_ros', ''))

    @classmethod
    def from_json(cls, text: str) -> Origin:
        """Return what `to_json` wrote.

        Raises:
            ParameterError: It is not of that kind.
        """
        try:
            found = json.loads(text)
        except ValueError as exc:
            raise ParameterError(f'the origin of features is no JSON: {exc}') from exc
        known = {f.name for f in fields(cls)}
        if not isinstance(found, dict) or not all(
            name in known and isinstance(value, str) for name, value in found.items()
        ):
            raise ParameterError(
                f'the origin of features is {text[:60]!r}; expected an object of texts named '
                f'{", ".join(sorted(known))}'
            )
        if 'digest' not in found:
            raise ParameterError('the origin of features has no digest')
        return cls(**found)

    def to_json(self) -> str:
        """Return it as one line of JSON, to be kept with a policy."""
        return json.dumps(asdict(self), sort_keys=True)

    def differences(self, trained: Origin) -> tuple[str, ...]:
        """Return what decides the numbers and differs from those of the training.

        Fields that one of the two does not tell are left out.
        """
        found = [
            f'{name} is {brief(mine)}, trained with {brief(theirs)}'
            for name in _DECIDING
            if (mine := getattr(self, name)) != (theirs := getattr(trained, name))
            and mine
            and theirs
        ]
        if found and self.model != trained.model and self.model and trained.model:
            found.insert(0, f'model is {brief(self.model)}, trained with {brief(trained.model)}')
        return tuple(found)


def mismatch(trained: Origin, digest: str, known: Mapping[str, Origin]) -> str:
    """Tell in one line why features are refused, field by field where that is known.

    Args:
        trained: Origin that the policy wants.
        digest: Digest that the features have.
        known: Every origin that an encoder has told, by its digest.
    """
    head = f'provenance is {brief(digest)}, trained with {brief(trained.digest)}'
    if digest not in known:
        return f'{head}; no encoder has told yet what differs'
    found = known[digest].differences(trained)
    if found:
        return f'{head}: {"; ".join(found)}'
    if not trained.weights_sha256:
        made = known[digest]
        names = (made.model, made.preprocessing, made.reduction, made.backend, made.precision)
        return (
            f'{head}; they are of {", ".join(map(brief, names))}; of the training only the digest '
            'is known'
        )
    versions = f'{brief(known[digest].version)}, trained with {brief(trained.version)}'
    return f'{head}: the version of the arithmetic; theia_ros is {versions}'


def is_digest(text: str) -> bool:
    """Tell whether a text is a sha256 in hexadecimal."""
    return bool(_DIGEST.fullmatch(text))


def brief(text: str) -> str:
    """Return the beginning of a digest, or a text that came from elsewhere, on one line."""
    if is_digest(text):
        return text[:12]
    return ' '.join(text.split())[:60] or 'empty'
