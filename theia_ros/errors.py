"""Everything that theia_ros raises on purpose.

::

    TheiaRosError
    ├── FrameError       a picture cannot be used; the next one may be fine
    ├── ParameterError   a parameter or an argument has a value that makes no sense
    ├── WeightsError     a model, or a part of one, is missing or does not fit
    ├── BagError         a bag cannot be read, or what is made of it cannot be written
    ├── EngineError      a backend is unknown, not installed, or failed
    │   └── ParityError       an engine is too far from the float32 reference
    └── FeatureError     features are not there as a policy needs them
        ├── MalformedError    a message does not hold what it says; the next one may be fine
        ├── StaleError        none have come, or the newest are too old
        ├── GapError          a step of the history has none
        └── ProvenanceError   they are not made like those that the policy was trained with

A message is one line and says what was expected, what was found and what to do.
The core raises; only the node and the command line report, so that each error is told once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class TheiaRosError(Exception):
    """Base of all errors that a user can do something about."""


class FrameError(TheiaRosError):
    """A picture cannot be used.

    Attributes:
        reason: One lower-case word, the same for all pictures that are wrong in the same way.
            Counters are kept per reason.
    """

    def __init__(self, reason: str, message: str) -> None:
        """Make the error that counts under `reason`."""
        super().__init__(message)
        self.reason = reason


class ParameterError(TheiaRosError):
    """A parameter or an argument has a value that makes no sense."""


class WeightsError(TheiaRosError):
    """A model, or a part of one, is missing or does not fit."""


class BagError(TheiaRosError):
    """A bag cannot be read, or what is made of it cannot be written."""


class EngineError(TheiaRosError):
    """A backend is unknown, not installed, or failed."""


class ParityError(EngineError):
    """An engine is too far from the float32 reference.

    Attributes:
        parity: How far each of its tensors is, as `parity.compare` returns it.
    """

    def __init__(self, message: str, parity: Mapping[str, Any]) -> None:
        """Make the error of an engine that was compared."""
        super().__init__(message)
        self.parity = parity


class FeatureError(TheiaRosError):
    """Features are not there as a policy needs them; it should stop safely."""


class MalformedError(FeatureError):
    """A message does not hold what it says; the next one may be fine.

    Attributes:
        reason: One lower-case word, the same for all messages that are wrong in the same way.
            Counters are kept per reason.
    """

    def __init__(self, reason: str, message: str) -> None:
        """Make the error that counts under `reason`."""
        super().__init__(message)
        self.reason = reason


class StaleError(FeatureError):
    """No features have come, or the newest are too old.

    Attributes:
        silent: Names of what nothing has come of yet.
    """

    def __init__(self, message: str, silent: tuple[str, ...] = ()) -> None:
        """Make the error; `silent` are those of which nothing has come."""
        super().__init__(message)
        self.silent = silent


class GapError(FeatureError):
    """A step of the history has no features."""


class ProvenanceError(FeatureError):
    """Features are not made like those that the policy was trained with."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type where it has none.

    A line that ends with a colon goes on with the next: OpenVINO tells where before what.
    """
    told: list[str] = []
    for line in str(error).split('\n'):
        if line.strip():
            told.append(line.strip())
            if not line.rstrip().endswith(':'):
                break
    return ' '.join(told) or type(error).__name__


def one_line(error: BaseException) -> str:
    """Return all of an error's text on one line, or its type where it has none."""
    return ' '.join(str(error).split()) or type(error).__name__
