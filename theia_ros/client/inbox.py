"""Everything that the client knows: messages in, observations out, and why there are none.

It knows nothing of rclpy: the subscriber feeds it with what comes live, and a training script
with what is in a bag, so both get the same observations.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theia_ros.catalog import BACKBONE
from theia_ros.client.observations import Observation
from theia_ros.client.observations import Series
from theia_ros.client.observations import series_of
from theia_ros.client.observations import Window
from theia_ros.client.origin import brief
from theia_ros.client.origin import is_digest
from theia_ros.client.origin import mismatch
from theia_ros.client.origin import Origin
from theia_ros.client.tensors import FeatureView
from theia_ros.client.tensors import stamp_ns
from theia_ros.client.tensors import view_of
from theia_ros.client.tracks import Track
from theia_ros.errors import MalformedError
from theia_ros.errors import ParameterError
from theia_ros.errors import ProvenanceError
from theia_ros.errors import StaleError

_DISORDER_NS = 500_000_000
"""How late a message of a topic with several publishers may be without being a jump in time."""
_ORIGINS = 16
"""Of how many encoders is remembered what they told."""


@dataclass
class Counts:
    """What became of the messages of a camera, or of a topic that is followed.

    Attributes:
        received: All of them; each is in one of the others.
        taken: Can be handed out, or could.
        skipped: Hold nothing of interest: their reader returned None.
        refused: Of another provenance than the policy was trained with.
        malformed: Do not hold what they say, by reason.
    """

    received: int = 0
    taken: int = 0
    skipped: int = 0
    refused: int = 0
    malformed: Counter[str] = field(default_factory=Counter)


Reader = Callable[[Any], Any]
"""Makes an array or a number of a message, always of the same shape; None skips the message."""


@dataclass(frozen=True)
class _Followed:
    read: Reader
    max_gap_s: float
    track: Track[NDArray[Any]]


class Inbox:
    """Take in what comes of some cameras, and hand out observations. Not for several threads.

    Attributes:
        counts: What became of the messages, by camera.
        window: Of its observations.
    """

    def __init__(
        self,
        cameras: str | Sequence[str],
        window: Window | None = None,
        *,
        tensor: str = BACKBONE,
        trained_with: Origin | str | None = None,
        max_age_s: float = 0.5,
    ) -> None:
        """Begin with nothing.

        Args:
            cameras: Names, as in the encoder's parameters.
            window: Of the observations; one instant by default.
            tensor: `theia`, or a teacher's name.
            trained_with: What the features must be made with, or its digest; None takes any, and
                begins anew when it changes.
            max_age_s: Features that are older are handed out no more, seconds.

        Raises:
            ParameterError: A value makes no sense.
        """
        names = (cameras,) if isinstance(cameras, str) else tuple(cameras)
        if not names or len(set(names)) < len(names):
            raise ParameterError(f'cameras are {list(names)}; expected one or more, each once')
        if not 0 < max_age_s < math.inf:
            raise ParameterError(f'max_age_s is {max_age_s}; expected more than 0')
        if isinstance(trained_with, str):
            trained_with = Origin(trained_with)
        self.window = window or Window()
        self.counts = {name: Counts() for name in names}
        self._tensor = tensor
        self._trained_with = trained_with
        self._max_age_s = max_age_s
        # A camera may be ahead of the slowest by all that the age allows.
        self._keep_ns = self.window.span_ns + round(max_age_s * 1e9)
        self._cameras: dict[str, Track[FeatureView]] = {n: Track(self._keep_ns) for n in names}
        self._followed: dict[str, _Followed] = {}
        self._origins: dict[str, Origin] = {}
        self._accepted = trained_with.digest if trained_with else ''
        self._shape: tuple[int, int] | None = None
        self._refused: dict[str, str] = {}
        self._told: set[tuple[str, str]] = set()
        self._told_refusal = ''

    # --- in -------------------------------------------------------------------------------------

    def follow(self, name: str, read: Reader, max_gap_s: float | None = None) -> None:
        """Expect the values of another topic, to be aligned with the features.

        Args:
            name: Under which they are put in and handed out.
            read: Makes a value of a message.
            max_gap_s: An instant whose value is older has a gap; the window's by default.
                Infinite for what is said once and stays true.

        Raises:
            ParameterError: There is such a name already, or the gap makes no sense.
        """
        if name in self._cameras or name in self._followed:
            raise ParameterError(f'there is already something called {name!r}')
        gap_s = self.window.max_gap_s if max_gap_s is None else max_gap_s
        if not gap_s >= 0:
            raise ParameterError(f'max_gap_s is {max_gap_s}; expected 0 or more')
        self._followed[name] = _Followed(read, gap_s, Track(self._keep_ns, _DISORDER_NS))
        self.counts[name] = Counts()

    def put(self, camera: str, msg: Any, received_ns: int) -> str:
        """Take in a FeatureTensor of a camera, whatever it holds.

        Args:
            camera: Name of the camera.
            msg: As it comes from rclpy, or from a bag.
            received_ns: When it came, nanoseconds by the policy's clock.

        Returns:
            A line that is worth telling, once for each reason; else nothing.
        """
        counts = self.counts[camera]
        counts.received += 1
        try:
            view = self._checked(view_of(msg, received_ns))
        except MalformedError as exc:
            counts.malformed[exc.reason] += 1
            return self._once(f'{camera}: features are ignored: {exc}', camera, exc.reason)
        line = ''
        if view.provenance != self._accepted:
            if self._trained_with:
                counts.refused += 1
                self._refused[camera] = view.provenance
                return self._tell_refusal(view.provenance)
            line = self._adopt(view.provenance)
        self._shape = view.shape
        self._refused.pop(camera, None)
        if not self._refused:
            self._told_refusal = ''
        self._cameras[camera].put(view.stamp_ns, view)
        counts.taken += 1
        return line

    def put_followed(self, name: str, msg: Any, received_ns: int) -> str:
        """Take in a message of a topic that is followed, whatever it holds.

        One that has no header is of the time when it came.

        Args:
            name: As in `follow`.
            msg: As it comes from rclpy, or from a bag.
            received_ns: When it came, nanoseconds by the policy's clock.

        Returns:
            A line that is worth telling, once for each reason; else nothing.
        """
        followed, counts = self._followed[name], self.counts[name]
        counts.received += 1
        try:
            value = followed.read(msg)
            array = np.asarray(value)
        except Exception as exc:  # whatever it is, it must not end the policy
            counts.malformed['reader'] += 1
            error = f'{type(exc).__name__}: {brief(str(exc))}'
            return self._once(f'{name} is ignored where its reader fails: {error}', name, 'reader')
        if value is None:
            counts.skipped += 1
            return ''
        newest = followed.track.newest
        if newest and array.shape != newest.item.shape:
            counts.malformed['shape'] += 1
            shapes = f'{list(array.shape)}, and were {list(newest.item.shape)} before'
            return self._once(f'{name} is ignored where its values are {shapes}', name, 'shape')
        header = getattr(msg, 'header', None)
        followed.track.put(stamp_ns(header.stamp) if header else received_ns, array)
        counts.taken += 1
        return ''

    def learn(self, info: Any) -> str:
        """Take in an EncoderInfo, and return a line that is worth telling, or nothing."""
        try:
            origin = Origin.of(info)
        except ParameterError as exc:
            return self._once(f'an EncoderInfo is ignored: {exc}', 'info', 'digest')
        self._origins.pop(origin.digest, None)
        self._origins[origin.digest] = origin
        if len(self._origins) > _ORIGINS:
            del self._origins[next(iter(self._origins))]
        return self._tell_refusal(origin.digest) if origin.digest in self._refused.values() else ''

    def forget(self) -> None:
        """Begin anew, since the clock jumped back."""
        for track in self._cameras.values():
            track.clear()
        for followed in self._followed.values():
            last = followed.track.newest
            followed.track.clear()
            if last and followed.max_gap_s == math.inf:  # said once, and still true
                followed.track.put(0, last.item)

    # --- out ------------------------------------------------------------------------------------

    @property
    def origin(self) -> Origin | None:
        """What the features that are taken are made with; None before there are any.

        Only its digest is known as long as the encoder has not told the rest.
        """
        known = self._origins.get(self._accepted, self._trained_with)
        return known or (Origin(self._accepted) if is_digest(self._accepted) else None)

    @property
    def refusal(self) -> ProvenanceError | None:
        """Why the newest features of a camera are refused; None when they are not."""
        if not (self._refused and self._trained_with):
            return None
        camera, digest = next(iter(self._refused.items()))
        line = mismatch(self._trained_with, digest, self._origins)
        return ProvenanceError(f'features of {camera} are refused: {line}')

    @property
    def refused(self) -> int:
        """How many messages of all cameras were refused, as far as it is known what differs."""
        known = all(digest in self._origins for digest in self._refused.values())
        return sum(counts.refused for counts in self.counts.values()) if known else 0

    @property
    def instant_ns(self) -> int | None:
        """The newest capture time that all cameras have reached; None before there is one."""
        newest = [track.newest for track in self._cameras.values()]
        stamps = [found.stamp_ns for found in newest if found]
        return min(stamps) if len(stamps) == len(newest) else None

    def observe(self, now_ns: int) -> Observation:
        """Return the newest observation.

        Args:
            now_ns: The time, nanoseconds by the policy's clock.

        Raises:
            ProvenanceError: The newest features of a camera are not like those of the training.
            StaleError: Something has not come, or is too old.
            GapError: There is a gap, and the window does not allow one.
        """
        if refusal := self.refusal:
            raise refusal
        instant_ns = self.instant_ns
        if instant_ns is None:
            silent = tuple(name for name, track in self._cameras.items() if not track.newest)
            raise StaleError(f'no features of {", ".join(silent)} have come', silent)
        self._check_age(instant_ns, now_ns)
        cameras = {
            name: series_of(name, track, self.window, instant_ns, self.window.max_gap_s)
            for name, track in self._cameras.items()
        }
        followed = {
            name: self._series_of_followed(name, followed, instant_ns)
            for name, followed in self._followed.items()
        }
        latencies = [series.example.latency_s for series in cameras.values()]
        return Observation(
            stamp_ns=instant_ns,
            age_s=(now_ns - instant_ns) / 1e9,
            latency_s=max(latencies),
            series={**cameras, **followed},
        )

    def _series_of_followed(
        self, name: str, followed: _Followed, instant_ns: int
    ) -> Series[NDArray[Any]]:
        series = series_of(name, followed.track, self.window, instant_ns, followed.max_gap_s)
        newest = followed.track.as_of(instant_ns)
        limit_s = max(self._max_age_s, followed.max_gap_s)
        if newest and instant_ns - newest.stamp_ns > limit_s * 1e9:
            behind_s = (instant_ns - newest.stamp_ns) / 1e9
            raise StaleError(
                f'the newest of {name} is {behind_s:.2f} s older than the features; expected '
                f'{limit_s:g} s or less'
            )
        return series

    def _check_age(self, instant_ns: int, now_ns: int) -> None:
        age_s = (now_ns - instant_ns) / 1e9
        if abs(age_s) <= self._max_age_s:
            return
        camera = next(
            name
            for name, track in self._cameras.items()
            if track.newest and track.newest.stamp_ns == instant_ns
        )
        if age_s > 0:
            raise StaleError(
                f'the newest features of {camera} are {age_s:.2f} s old; expected '
                f'{self._max_age_s:g} s or less'
            )
        raise StaleError(
            f'the newest features of {camera} are {-age_s:.2f} s ahead of the clock, which is at '
            f'{now_ns / 1e9:.2f} s; give camera and policy one clock, and both the same '
            'use_sim_time'
        )

    # --- the rest -------------------------------------------------------------------------------

    def _checked(self, view: FeatureView) -> FeatureView:
        if view.name != self._tensor:
            name = view.name[:40]
            raise MalformedError('name', f'the tensor is {name!r}; expected {self._tensor!r}')
        same = view.provenance == self._accepted
        if same and self._shape and view.shape != self._shape:
            raise MalformedError(
                'shape', f'shape is {list(view.shape)}, and was {list(self._shape)} before'
            )
        return view

    def _adopt(self, digest: str) -> str:
        """Go on with features of another provenance, and with nothing of the last."""
        before, self._accepted, self._shape = self._accepted, digest, None
        for track in self._cameras.values():
            track.clear()
        if not before:
            return ''
        return f'features are made otherwise from now on: {brief(digest)}, not {brief(before)}'

    def _tell_refusal(self, digest: str) -> str:
        assert self._trained_with
        line = mismatch(self._trained_with, digest, self._origins)
        if line == self._told_refusal:
            return ''
        self._told_refusal = line
        return f'features are refused: {line}'

    def _once(self, line: str, source: str, reason: str) -> str:
        if (source, reason) in self._told:
            return ''
        self._told.add((source, reason))
        return line
