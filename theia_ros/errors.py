"""Everything that theia_ros raises on purpose.

::

    TheiaRosError
    ├── FrameError       a picture cannot be used; the next one may be fine
    ├── ParameterError   a parameter or an argument has a value that makes no sense
    ├── WeightsError     a model, or a part of one, is missing or does not fit
    ├── BagError         a bag cannot be read, or what is made of it cannot be written
    └── EngineError      a backend is unknown, not installed, or failed
        └── ParityError       an engine is too far from the float32 reference

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
