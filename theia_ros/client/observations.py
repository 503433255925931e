"""What a policy is handed: the newest instant that all cameras have reached, and those before it.

Nothing newer than the instant of an observation is ever in it, so that what a policy sees live is
what it would have seen in a recording. An instant before it takes from each source the newest
item that was not yet in its future; see `Window` for what becomes of gaps.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from typing import Generic
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from theia_ros.client.tensors import FeatureView
from theia_ros.client.tracks import Track
from theia_ros.errors import GapError
from theia_ros.errors import ParameterError
from theia_ros.errors import StaleError

T = TypeVar('T')

GAPS = ('hold', 'mask', 'fail')


@dataclass(frozen=True)
class Window:
    """Which instants an observation has, and what becomes of those without an item.

    Keep it with the policy: it must be the same in training.

    Attributes:
        steps: Instants, 1 or more; the last is the newest.
        period_s: From one to the next, seconds; more than 0.
        max_gap_s: An instant whose item is older than this has a gap, seconds.
        gaps: `hold` takes the older item all the same, and before the first one the first;
            `mask` gives zeros. `Observation.valid` is false there in both cases. `fail` raises a
            GapError instead.
    """

    steps: int = 1
    period_s: float = 0.1
    max_gap_s: float = 0.2
    gaps: str = 'hold'

    def __post_init__(self) -> None:
        """Refuse values that make no sense.

        Raises:
            ParameterError: One makes none.
        """
        if self.steps < 1:
            raise ParameterError(f'steps is {self.steps}; expected 1 or more')
        if not 0 < self.period_s < float('inf'):
            raise ParameterError(f'period_s is {self.period_s}; expected more than 0')
        if not self.max_gap_s >= 0:
            raise ParameterError(f'max_gap_s is {self.max_gap_s}; expected 0 or more')
        if self.gaps not in GAPS:
            raise ParameterError(f'gaps is {self.gaps!r}; expected one of {", ".join(GAPS)}')

    @property
    def span_ns(self) -> int:
        """From the oldest instant to the newest, nanoseconds."""
        return (self.steps - 1) * round(self.period_s * 1e9)

    def instants(self, newest_ns: int) -> list[int]:
        """Return the instants of an observation, oldest first, nanoseconds."""
        period_ns = round(self.period_s * 1e9)
        return [newest_ns - k * period_ns for k in reversed(range(self.steps))]


@dataclass(frozen=True, eq=False)
class Series(Generic[T]):
    """What one source has at the instants of a window, oldest first.

    Attributes:
        items: None at a masked gap.
        stamps_ns: Of the items themselves; 0 at a masked gap.
        valid: (steps,) bool; false at a gap.
        example: Some item, which tells the shape of all.
    """

    items: tuple[T | None, ...]
    stamps_ns: tuple[int, ...]
    valid: NDArray[np.bool_]
    example: T


def series_of(
    name: str, track: Track[T], window: Window, newest_ns: int, max_gap_s: float
) -> Series[T]:
    """Return what a source has at the instants of a window.

    Args:
        name: Of the source, for messages.
        track: Its items.
        window: To look through.
        newest_ns: The newest instant, nanoseconds.
        max_gap_s: In place of the window's.

    Raises:
        StaleError: There is nothing of the newest instant or before it.
        GapError: There is a gap, and the window does not allow one.
    """
    newest, first = track.as_of(newest_ns), track.oldest
    if first is None:
        raise StaleError(f'nothing of {name} has come', (name,))
    if newest is None:
        ahead_s = (first.stamp_ns - newest_ns) / 1e9
        raise StaleError(
            f'{name} begins {ahead_s:.2f} s after the newest instant of all cameras; wait, or '
            'give all of them one clock'
        )
    items: list[T | None] = []
    stamps: list[int] = []
    valid: list[bool] = []
    for instant_ns in window.instants(newest_ns):
        found = track.as_of(instant_ns)
        fits = found is not None and instant_ns - found.stamp_ns <= max_gap_s * 1e9
        if not fits and window.gaps == 'fail':
            before_s = (newest_ns - instant_ns) / 1e9
            state = (
                f'the last one before is {(instant_ns - found.stamp_ns) / 1e9:.3f} s older'
                if found
                else f'the first came {(first.stamp_ns - instant_ns) / 1e9:.3f} s later'
            )
            raise GapError(
                f'{name} has a gap {before_s:.3f} s before the newest instant: {state}, '
                f'max_gap_s is {max_gap_s:g}'
            )
        if not fits and window.gaps == 'mask':
            items.append(None)
            stamps.append(0)
        else:
            # Before the first there is nothing to hold: the first itself then, which is not newer
            # than the newest instant, since as_of(newest_ns) found something.
            taken = found or first
            items.append(taken.item)
            stamps.append(taken.stamp_ns)
        valid.append(fits)
    return Series(tuple(items), tuple(stamps), np.array(valid), newest.item)


@dataclass(frozen=True, eq=False)
class Observation:
    """What a policy acts on.

    `observation['front']` is the newest of a camera, a FeatureView, or of a topic that is
    followed, an array. `stack('front')` has all instants.

    Attributes:
        stamp_ns: The newest instant: the newest capture time that all cameras have reached,
            nanoseconds.
        age_s: From that instant until it was handed out, seconds by the policy's clock.
        latency_s: From capture to arrival of the newest features, of the slowest camera, seconds.
        series: What each source has at the instants.
    """

    stamp_ns: int
    age_s: float
    latency_s: float
    series: Mapping[str, Series[Any]]

    def __getitem__(self, name: str) -> Any:
        """Return the newest item of a source.

        Raises:
            GapError: There is a gap in its place, and gaps are masked.
            KeyError: There is no such source.
        """
        item = self.series[name].items[-1]
        if item is None:
            raise GapError(f'{name} has a gap at the newest instant; stack() has zeros there')
        return item

    def stack(self, name: str) -> NDArray[Any]:
        """Return the items of a source at all instants, oldest first; zeros at a masked gap.

        Returns:
            (steps, N, C) float32 of a camera; (steps, ...) of a topic that is followed.
        """
        return self._stack(name, lambda view: view.float32().tokens)

    def stack_maps(self, name: str) -> NDArray[np.float32]:
        """Return the features of a camera on their grid, at all instants, oldest first.

        Returns:
            (steps, C, h, w) float32; zeros at a masked gap.

        Raises:
            FeatureError: They lie on no grid.
        """
        return self._stack(name, lambda view: view.float32().as_map())

    def valid(self, name: str) -> NDArray[np.bool_]:
        """Return where a source has no gap, (steps,) bool, oldest first."""
        return self.series[name].valid

    def _stack(self, name: str, read: Callable[[FeatureView], NDArray[Any]]) -> NDArray[Any]:
        series = self.series[name]

        def array(item: Any) -> NDArray[Any]:
            return read(item) if isinstance(item, FeatureView) else np.asarray(item)

        zero = np.zeros_like(array(series.example))
        return np.stack([zero if item is None else array(item) for item in series.items])
