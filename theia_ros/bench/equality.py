"""Equality first: who does not give the baseline's numbers is not timed."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theia_ros.bench.contenders import Contender
from theia_ros.bench.contenders import Tokens
from theia_ros.datatypes import Frame


@dataclass(frozen=True)
class Distance:
    """How far a tensor is from the baseline's.

    Attributes:
        cosine: Smallest of a token.
        relative_error: Length of the difference by the length of the baseline's tensor.
        max_abs_error: Largest difference of a number.
    """

    cosine: float
    relative_error: float
    max_abs_error: float


LIMITS: Mapping[str, Distance] = {
    'fp32': Distance(0.99999, 1e-4, np.inf),
    'fp16': Distance(0.999, 1e-2, np.inf),
    'bf16': Distance(0.999, 1e-2, np.inf),
}
"""What still counts as equal, by precision. The largest difference is told but not judged: it
depends on the scale of a model's features."""


def distance(found: NDArray[np.float32], expected: NDArray[np.float32]) -> Distance:
    """Measure how far tokens, (..., C), are from those expected.

    Numbers that are not finite give NaN, which is within no limit.
    """
    a, b = found.astype(np.float64), expected.astype(np.float64)
    with np.errstate(invalid='ignore', divide='ignore', over='ignore'):
        cosines = (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
        return Distance(
            float(cosines.min()),
            float(np.linalg.norm(a - b) / np.linalg.norm(b)),
            float(np.abs(a - b).max()),
        )


def verdict(found: Distance, precision: str) -> str:
    """Return what is beyond the limits of a precision; empty when nothing is."""
    limit = LIMITS[precision]
    # `not <=` and not `>`: NaN is beyond.
    if not found.relative_error <= limit.relative_error:
        return f'relative error {found.relative_error:.1e}, at most {limit.relative_error:.0e}'
    if not found.cosine >= limit.cosine:
        return f'cosine of a token {found.cosine:.5f}, at least {limit.cosine}'
    return ''


def check(
    contender: Contender,
    baseline: Sequence[Mapping[str, Tokens]],
    frames: Sequence[Frame],
    outputs: Sequence[str],
) -> str:
    """Compare a contender with the baseline.

    Args:
        contender: Of which `errors` keeps the worst of all checks.
        baseline: Its tensors, of the same pictures.
        frames: To encode as one batch.
        outputs: To ask for; maps are computed and not compared.

    Returns:
        What differs; empty when nothing does.

    Raises:
        EngineError: The computation failed.
    """
    assert contender.runner
    found, _ = contender.runner.run(frames, outputs)
    beyond = []
    for tensor in baseline[0]:
        expected = np.stack([of_frame[tensor] for of_frame in baseline])
        tokens = np.stack([of_frame[tensor] for of_frame in found])
        if tokens.shape != expected.shape:
            return f'{tensor} is {tokens.shape}, not {expected.shape}'
        measured = distance(tokens, expected)
        contender.errors[tensor] = _worst(contender.errors.get(tensor), asdict(measured))
        if said := verdict(measured, contender.precision):
            beyond.append(f'{tensor}, batch {len(frames)}: {said}')
    return beyond[0] if beyond else ''


def _worst(before: dict[str, float] | None, now: dict[str, float]) -> dict[str, float]:
    # The cosine is good when it is large, the errors when they are small. NaN stays.
    picks = {'cosine': np.minimum, 'relative_error': np.maximum, 'max_abs_error': np.maximum}
    return {k: float(picks[k](before[k], v)) for k, v in now.items()} if before else now
