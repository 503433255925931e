"""Whether features are made as those that were expected, and how to make them so."""

from __future__ import annotations

import itertools
from dataclasses import replace

from theia_ros.datatypes import Recipe
from theia_ros.errors import ParameterError
from theia_ros.model import TOKEN_LAYOUT
from theia_ros.params import choices

_SHORTEST = 8


def check_expected(recipe: Recipe, expected: str) -> None:
    """Refuse a recipe with another digest, and tell which options would have given that one.

    Args:
        recipe: Of the encoder.
        expected: A digest, or its first eight digits or more.

    Raises:
        ParameterError: It is another, or no digest.
    """
    if len(expected) < _SHORTEST or set(expected) - set('0123456789abcdef'):
        raise ParameterError(
            f'--expect is {expected!r}; expected a digest, such as /theia/info has it, or its '
            f'first {_SHORTEST} digits or more'
        )
    if recipe.digest.startswith(expected):
        return
    options = {
        'backend': [b for b in choices('backend') if b != 'auto'],
        'precision': [p for p in choices('precision') if p != 'auto'],
        'reduction': choices('reduction'),
        'preprocessing': choices('preprocessing'),
    }
    for values in itertools.product(*options.values()):
        wanted = dict(zip(options, values, strict=True))
        other = replace(recipe, **wanted, token_layout=TOKEN_LAYOUT[wanted['reduction']])
        if other.digest.startswith(expected):
            differing = [k for k in wanted if getattr(recipe, k) != wanted[k]]
            names = {'reduction': 'reduce'}
            cure = ' '.join(f'--{names.get(k, k)} {wanted[k]}' for k in differing)
            raise ParameterError(f'these features would not be the expected ones; use {cure}')
    raise ParameterError(
        f'these features would have the digest {recipe.digest}; {expected} was expected, which is '
        'of other weights or of another version of theia_ros'
    )
