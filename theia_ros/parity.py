"""Whether an opened engine gives what the model gives; measured at every opening.

Engines in reduced precision, and compilers, can be wrong without a word. So each opened engine
encodes built-in pictures and is compared with the eager float32 model on the CPU, tensor by
tensor, before anybody gets to use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from theia_ros.engine import choose
from theia_ros.engine import Engine
from theia_ros.engine import open_engine
from theia_ros.engine import Report
from theia_ros.engine.reference import pictures
from theia_ros.engine.reference import reference
from theia_ros.engine.source import Source
from theia_ros.errors import EngineError
from theia_ros.errors import ParityError
from theia_ros.params import EncoderParams

_LARGEST_BATCH = 8
"""Of those that are compared, since each costs time at every start."""

FELL_BACK = 'fell back to'
"""How the note of a fallback begins."""


@dataclass(frozen=True)
class Limit:
    """How far a tensor may be from the reference.

    Attributes:
        cosine: Least similarity of any token.
        error: Most absolute difference of any number, as part of the reference's largest.
        scale: How far the length of a picture's tokens may be from the reference's, as part of
            it. Rounding goes up and down and changes it little, so this is narrow: a wrong scale
            hides from the cosine, and in reduced precision among the errors.
    """

    cosine: float
    error: float
    scale: float


LIMITS: Mapping[str, Limit] = {
    'fp32': Limit(cosine=0.999999, error=1e-3, scale=1e-4),
    'fp16': Limit(cosine=0.9995, error=2e-2, scale=2e-3),
    'bf16': Limit(cosine=0.995, error=1e-1, scale=1e-2),
}
"""By precision; docs/parity.md has what was measured."""


@dataclass(frozen=True)
class Parity:
    """How far a tensor is from the reference.

    Attributes:
        cosine: Smallest similarity of a token; NaN when a number is not finite.
        max_abs_error: Largest absolute difference.
        scale: Length of the tokens of that picture of which it is farthest from the reference's,
            by the reference's.
        limit: Of all three; the error's is absolute.
    """

    cosine: float
    max_abs_error: float
    scale: float
    limit: Limit

    @property
    def good(self) -> bool:
        """Whether it is within its limits; NaN is not."""
        return (
            self.cosine >= self.limit.cosine
            and self.max_abs_error <= self.limit.error
            and abs(self.scale - 1) <= self.limit.scale
        )


@dataclass(frozen=True)
class Opened:
    """An engine that was compared.

    Attributes:
        engine: Ready to use.
        parity: By tensor; empty for the fake, which is wrong on purpose.
        weights_sha256: Of the model; empty for the fake, which has none.
        notes: What people should know of how it was opened.
    """

    engine: Engine
    parity: Mapping[str, Parity]
    weights_sha256: str
    notes: tuple[str, ...]


def open_checked(params: EncoderParams, report: Report) -> Opened:
    """Open an engine and compare it with the reference.

    Args:
        params: What to open.
        report: Is told what is being done.

    Raises:
        EngineError: It cannot be opened; or it fails, or gives other tensors than the model, and
            `on_parity_failure` is `refuse`.
        ParityError: It is too far from the reference, and `on_parity_failure` is `refuse`.
        ParameterError: The model is unknown.
        WeightsError: The model is missing or does not fit.
    """
    choice = choose(params)
    notes = (f'backend auto chose {choice.backend}: {choice.why}',) if choice.why else ()
    engine = open_engine(params, report)
    if engine.backend == 'fake':
        return Opened(engine, {}, '', notes)
    source = Source(params.model)
    if is_reference(engine):
        itself = dict.fromkeys(engine.config.tensors, Parity(1.0, 0.0, 1.0, LIMITS['fp32']))
        return Opened(engine, itself, source.weights_sha256, notes)
    expected = reference(source, params, report)
    report('comparing with the float32 reference')
    try:
        parity = compare(engine, expected)
        judge(engine, parity)
    except EngineError as exc:
        engine.close()
        if params.on_parity_failure != 'fallback':
            raise
        report(f'FALLING BACK to the float32 reference: {exc}')
        plain = replace(
            params,
            backend='torch',
            precision='fp32',
            cuda_graphs=False,
            on_parity_failure='refuse',
        )
        opened = open_checked(plain, report)
        note = f'{FELL_BACK} {opened.engine.backend} fp32, which is slow: {exc}'
        return replace(opened, notes=(*notes, note))
    return Opened(engine, parity, source.weights_sha256, notes)


def is_reference(engine: Engine) -> bool:
    """Return whether an engine is the reference itself: torch in float32 on the CPU."""
    return (engine.backend, engine.precision) == ('torch', 'fp32') and engine.device[:3] == 'cpu'


def compare(engine: Engine, expected: Mapping[str, Tensor]) -> dict[str, Parity]:
    """Let an engine encode the built-in pictures, one alone and in its largest batch, and compare.

    Engines may have other kernels for a single picture, and for each size of a batch.

    Args:
        engine: Whose tensors are compared.
        expected: From `reference`.

    Raises:
        EngineError: The engine fails, or gives other tensors, or of another shape.
    """
    pixels = pictures()
    cosines: dict[str, list[float]] = {name: [] for name in expected}
    errors: dict[str, list[float]] = {name: [] for name in expected}
    scales: dict[str, list[float]] = {name: [] for name in expected}
    for batch in _batches(len(pixels), engine.max_batch):
        found = engine.infer(pixels[batch], list(expected))
        if set(found) != set(expected):
            raise EngineError(
                f'the {engine.backend} engine gives {", ".join(sorted(found)) or "nothing"}; '
                f'expected {", ".join(sorted(expected))}'
            )
        for name, tensor in found.items():
            a, b = tensor.cpu().double(), expected[name][batch].double()
            if a.shape != b.shape:
                raise EngineError(
                    f'{name} of the {engine.backend} engine has shape {tuple(a.shape)}; expected '
                    f'{tuple(b.shape)}'
                )
            # Minimum and maximum of torch are NaN if any number is.
            cosines[name].append(float(F.cosine_similarity(a, b, dim=-1).clamp(max=1).min()))
            errors[name].append(float((a - b).abs().max()))
            scales[name] += (a.flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1)).tolist()
    limit, parity = LIMITS[engine.precision], {}
    for name, b in expected.items():
        parity[name] = Parity(
            float(np.min(cosines[name])),
            float(np.max(errors[name])),
            scales[name][int(np.argmax(np.abs(np.array(scales[name]) - 1)))],
            replace(limit, error=limit.error * float(b.abs().max())),
        )
    return parity


def _batches(pictures: int, max_batch: int) -> list[list[int]]:
    """Return which pictures each batch holds: each of them at least once."""
    largest = min(max_batch, _LARGEST_BATCH)
    order = [i % pictures for i in range(max(largest, pictures))]  # one may come several times
    batches = [order[i : i + largest] for i in range(0, len(order), largest)]
    return batches if largest == 1 else [[0], *batches]


def judge(engine: Engine, parity: Mapping[str, Parity]) -> None:
    """Refuse an engine that is too far from the reference.

    Raises:
        ParityError: It is; names the worst tensor.
    """
    bad = {name: p for name, p in parity.items() if not p.good}
    if not bad:
        return
    # NaN first: comparisons with it are always false.
    name, worst = min(bad.items(), key=lambda item: np.nan_to_num(item[1].cosine, nan=-2))
    others = f' and {len(bad) - 1} more' if len(bad) > 1 else ''
    raise ParityError(
        f'parity: {name}{others} of the {engine.backend} engine in {engine.precision} on '
        f'{engine.device} differs from the float32 reference: smallest cosine '
        f'{worst.cosine:.7f} (limit {worst.limit.cosine}), largest error '
        f'{worst.max_abs_error:.3g} (limit {worst.limit.error:.3g}), scale {worst.scale:.5f} '
        f'(limit 1 +- {worst.limit.scale:g}); use another precision or backend, or set '
        'on_parity_failure to fallback',
        parity,
    )
