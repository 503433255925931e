"""Who takes part: the baseline, and every backend and precision that this machine can open."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from importlib.util import find_spec
from typing import Any
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from theia_ros.datatypes import Frame
from theia_ros.encoder import Encoder
from theia_ros.errors import EngineError
from theia_ros.params import choices
from theia_ros.params import EncoderParams
from theia_ros.timing import Stopwatch

Tokens = NDArray[np.float32]

BACKENDS = tuple(name for name in choices('backend') if name not in ('auto', 'fake'))
"""Those that take part unless told otherwise. The fake's numbers are wrong on purpose."""

PRECISIONS = tuple(name for name in choices('precision') if name != 'auto')


class Runner(Protocol):
    """What is timed.

    Attributes:
        name: For tables.
        tensors: Names of the tensors that it gives.
    """

    name: str
    tensors: tuple[str, ...]

    def run(
        self, frames: Sequence[Frame], outputs: Collection[str]
    ) -> tuple[list[dict[str, Tokens]], dict[str, float]]:
        """Encode pictures as one batch.

        Returns:
            The tensors of each picture, (N, C), and how long each step took for the whole
            batch, milliseconds.
        """


class EncoderRunner:
    """An `Encoder`, and the messages that are made of its features."""

    def __init__(self, name: str, encoder: Encoder) -> None:
        """Take over the encoder."""
        self.name = name
        self.tensors = encoder.tensors
        self._encoder = encoder
        self._messages = _message_maker(encoder)

    def run(
        self, frames: Sequence[Frame], outputs: Collection[str]
    ) -> tuple[list[dict[str, Tokens]], dict[str, float]]:
        """Encode pictures as one batch; see `Runner.run`."""
        encoded = self._encoder.encode(frames, outputs)
        clock = Stopwatch()
        if self._messages:
            with clock.step('message'):
                for of_frame in encoded:
                    self._messages(of_frame.features)
        tokens = [{k: f.tokens for k, f in e.features.items()} for e in encoded]
        return tokens, {**encoded[0].step_ms, **clock.step_ms}

    def close(self) -> None:
        """Give back the device's memory."""
        self._encoder.close()


def _message_maker(encoder: Encoder) -> Callable[[Mapping[str, Any]], object] | None:
    """Return what makes the ROS messages of features; None where ROS is not installed."""
    if not (find_spec('theia_msgs') and find_spec('sensor_msgs')):
        return None
    from theia_ros.conversions import message_from_features

    model, digest = encoder.params.model, encoder.provenance.recipe.digest

    def make(features: Mapping[str, Any]) -> object:
        return [message_from_features(f, 'float32', model, digest) for f in features.values()]

    return make


@dataclass
class Contender:
    """A backend at a precision, and what became of it.

    Attributes:
        name: Backend and precision that are really used.
        params: That open it.
        state: `equal`, `not equal`, `not available` or `failed`.
        reason: Why it is not timed, or not with all outputs; empty when it is.
        refused: Why it is not timed with a set of outputs, by the word for them.
        runner: That is timed; None when nothing of it is.
        device: What it runs on.
        open_s: Seconds to open it here, building an engine included when none was stored; 0 for
            one that was not opened, and for the baseline.
        errors: Of each tensor; see `equality.Distance`.
        fresh: Start-up and memory in a process of its own.
    """

    name: str
    params: EncoderParams
    state: str = 'equal'
    reason: str = ''
    refused: dict[str, str] = field(default_factory=dict)
    runner: EncoderRunner | None = None
    device: str = ''
    open_s: float = 0.0
    errors: dict[str, dict[str, float]] = field(default_factory=dict)
    fresh: dict[str, float] = field(default_factory=dict)

    @property
    def precision(self) -> str:
        """Arithmetic really used."""
        return self.name.rpartition(' ')[2]

    def refuse(self, outputs: str, reason: str) -> None:
        """Take it out of the race with a set of outputs, because its numbers are not equal."""
        self.refused[outputs] = reason
        self.state = 'not equal'
        self.reason = '; '.join(dict.fromkeys(self.refused.values()))

    def drop(self, state: str, reason: str) -> None:
        """Take it out of the race."""
        self.state, self.reason = state, reason
        self.close()

    def close(self) -> None:
        """Give back the device's memory."""
        if self.runner:
            self.runner.close()
            self.runner = None


def open_contender(params: EncoderParams) -> Contender:
    """Open a backend at a precision, or tell why it cannot be opened."""
    started = time.perf_counter()
    try:
        encoder = Encoder(params)
    except EngineError as exc:
        name = f'{params.backend} {params.precision}'
        return Contender(name, params, 'not available', str(exc))
    open_s = time.perf_counter() - started
    recipe = encoder.provenance.recipe
    name = f'{recipe.backend} {recipe.precision}'
    device = encoder.provenance.device
    return Contender(
        name, params, runner=EncoderRunner(name, encoder), device=device, open_s=open_s
    )
