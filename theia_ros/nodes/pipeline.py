"""The way of a picture through the node.

The executor's thread only stores. A second one converts, encodes and publishes features; where
the next pictures wait already, it leaves the publishing to a third and goes on with them. A fourth
decodes and publishes maps of the newest features, so that a slow map never delays a policy.
"""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from rclpy.clock import Clock
from rclpy.lifecycle import LifecyclePublisher
from std_msgs.msg import Header
from theia_msgs.msg import FeatureTensorArray

from theia_ros.catalog import BACKBONE
from theia_ros.conversions import header_of
from theia_ros.conversions import stamp_ns
from theia_ros.datatypes import Features
from theia_ros.datatypes import Frame
from theia_ros.encoder import Encoder
from theia_ros.encoder import Inferred
from theia_ros.errors import FrameError
from theia_ros.latest import Latest
from theia_ros.nodes.camera import Arrival
from theia_ros.nodes.camera import Camera
from theia_ros.nodes.outputs import CameraOutputs
from theia_ros.params import NodeParams
from theia_ros.sync import Synchronizer
from theia_ros.timing import Latencies
from theia_ros.timing import Stopwatch
from theia_ros.worker import InOrder
from theia_ros.worker import Worker

_ALL = '*'
"""Sender of synchronized sets; no camera can have this name."""


@dataclass(frozen=True)
class Round:
    """Features that were made in one round, to be published.

    Attributes:
        features: By camera and by tensor.
        arrivals: By camera; also those of which nothing was made.
        complete: They are of all cameras, at one instant.
    """

    features: Mapping[str, Mapping[str, Features]]
    arrivals: Mapping[str, Arrival]
    complete: bool


@dataclass(frozen=True)
class Undecoded:
    """What maps of one picture are to be made of."""

    inferred: Inferred
    maps: frozenset[str]


class Pipeline:
    """Take messages in and publish what is made of them, from `__init__` to `stop`.

    Attributes:
        latencies: Of every step as `<step>`, and of every camera as `<camera>/<step>`.
        failures: Errors by which something was lost, since the start.
    """

    def __init__(
        self,
        encoder: Encoder,
        cameras: Mapping[str, Camera],
        outputs: Mapping[str, CameraOutputs],
        array: LifecyclePublisher | None,
        params: NodeParams,
        clock: Clock,
        warn: Callable[[str], None],
        error: Callable[[Exception], None],
    ) -> None:
        """Start the threads.

        Args:
            encoder: The encoder, which stays the caller's.
            cameras: By name.
            outputs: By name of the camera.
            array: Publisher of synchronized features; None unless `synchronize` is on.
            params: Parameters of the node.
            clock: Clock of the node, by which stamps are judged.
            warn: Is told of bad pictures, once for each camera and reason.
            error: Is given what a batch was lost to.
        """
        self.latencies = Latencies()
        self.failures = 0
        # By stage, whose keys stay, since other threads read it.
        self._newest_failures = dict.fromkeys(('convert', 'encode', 'publish', 'decode'), '')
        self._encoder = encoder
        self._cameras = cameras
        self._outputs = outputs
        self._array = array
        self._params = params
        self._clock = clock
        self._warn = warn
        self._error = error
        self._warned: set[tuple[str, str]] = set()
        self._sync: Synchronizer[Arrival] | None = None
        if array:
            self._sync = Synchronizer(list(cameras), round(params.sync_tolerance_ms * 1e6))
        self._arrived: Latest[Mapping[str, Arrival]] = Latest(most=encoder.max_batch)
        self._rounds = InOrder(self._publish_features, partial(self._failed, 'publish'))
        self._undecoded: Latest[Undecoded] = Latest(most=1)
        self._workers: list[Worker[Any]] = [
            Worker(self._arrived, self._encode_round, partial(self._failed, 'encode')),
            Worker(self._undecoded, self._publish_maps, partial(self._failed, 'decode')),
        ]

    def use(self, params: NodeParams) -> None:
        """Go on with other values of the live parameters."""
        self._params = params

    def stop(self) -> None:
        """Finish what is in hand and end the threads."""
        for worker in self._workers:
            worker.stop()
        self._rounds.stop()

    @property
    def last_failure(self) -> str:
        """What the newest error of a stage said; empty if all do well again."""
        return next(filter(None, self._newest_failures.values()), '')

    def dropped(self, camera: str) -> int:
        """Return how many pictures of a camera gave way to newer ones, or found no partners."""
        single = self._sync.dropped(camera) if self._sync else 0
        return single + self._arrived.replaced(_ALL if self._sync else camera)

    def skipped(self, camera: str) -> int:
        """Return how many pictures of a camera got no maps, since newer features were there."""
        return self._undecoded.replaced(camera)

    # --- on the executor's thread ---------------------------------------------------------------

    def receive(self, camera: Camera, arrival: Arrival) -> None:
        """Store a message in the place of the camera's last one."""
        if not self._sync:
            self._serve(camera.name, {camera.name: arrival})
        elif together := self._sync.put(camera.name, stamp_ns(arrival.msg), arrival):
            self._serve(_ALL, together)

    def _serve(self, sender: str, together: Mapping[str, Arrival]) -> None:
        """Store pictures that belong together, if `max_rate_hz` of each allows it."""
        cameras = [self._cameras[name] for name in together]
        now_ns = time.monotonic_ns()
        if not all(camera.limit.allows(now_ns) for camera in cameras):
            for camera in cameras:
                camera.limited += 1
            return
        for camera in cameras:
            camera.limit.count(now_ns, self._max_rate_hz(camera.name))
        self._arrived.put(sender, together)

    def _max_rate_hz(self, camera: str) -> float:
        rates = self._params.max_rate_hz
        return rates[self._params.cameras.index(camera)] if len(rates) > 1 else rates[0]

    # --- on the encoding thread -----------------------------------------------------------------

    def _encode_round(self, taken: dict[str, Mapping[str, Arrival]]) -> None:
        """Encode the newest pictures; those that need the same outputs go as one batch."""
        arrivals = {name: a for together in taken.values() for name, a in together.items()}
        watch = Stopwatch()
        batches: dict[frozenset[str], dict[str, Frame]] = defaultdict(dict)
        with watch.step('convert'):
            for name, arrival in arrivals.items():
                wanted = self._wanted(name)
                if frame := self._frame(name, arrival, wanted):
                    batches[wanted][name] = frame
        self.latencies.add(watch.step_ms)
        features: dict[str, Mapping[str, Features]] = {}
        for wanted, frames in batches.items():
            for batch in _split(frames, self._encoder.max_batch):
                features |= self._encode(batch, wanted)
        if features:
            complete = all(BACKBONE in features.get(name, ()) for name in self._cameras)
            made = Round(features, arrivals, complete and _ALL in taken)
            self._rounds.do(made, beside=not self._arrived.empty())

    def _wanted(self, name: str) -> frozenset[str]:
        wanted = self._outputs[name].wanted()
        if self._array and self._array.get_subscription_count():
            wanted |= {BACKBONE}
        return wanted

    def _frame(self, name: str, arrival: Arrival, wanted: frozenset[str]) -> Frame | None:
        """Return the picture of a message; one that is not wanted, too old or bad is counted."""
        camera = self._cameras[name]
        if not wanted:
            camera.unwanted += 1
            return None
        limit_ms = self._params.max_age_ms
        if limit_ms and self._age_ms(arrival) > limit_ms:
            camera.stale += 1
            return None
        try:
            frame = camera.frame(arrival.msg)
        except FrameError as exc:
            self._refuse(camera, exc)
        except Exception as exc:  # a bug, or no memory: it must not cost the other cameras theirs
            self._lose('convert', [camera], exc)
        else:
            self._does_well('convert')
            return frame
        return None

    def _encode(
        self, frames: dict[str, Frame], wanted: frozenset[str]
    ) -> dict[str, Mapping[str, Features]]:
        """Encode a batch; what cannot be encoded is counted and left out."""
        try:
            inferred = self._encoder.infer(list(frames.values()), wanted)
            features = self._encoder.features(inferred, wanted)
        except FrameError as exc:
            if len(frames) == 1:
                self._refuse(self._cameras[next(iter(frames))], exc)
                return {}
            # One camera's picture must not cost the others theirs.
            singles = [self._encode({name: frame}, wanted) for name, frame in frames.items()]
            return {name: f for single in singles for name, f in single.items()}
        except Exception as exc:
            self._lose('encode', [self._cameras[name] for name in frames], exc)
            return {}
        self._does_well('encode')
        self.latencies.add(inferred.watch.step_ms)
        if maps := wanted.intersection(self._encoder.maps):
            for i, name in enumerate(frames):
                self._undecoded.put(name, Undecoded(inferred.one(i), maps))
        return dict(zip(frames, features, strict=True))

    def _refuse(self, camera: Camera, error: FrameError) -> None:
        """Count a bad picture, and tell the first of each kind."""
        camera.bad[error.reason] += 1
        camera.last_bad_ns = time.monotonic_ns()
        if (camera.name, error.reason) not in self._warned:
            self._warned.add((camera.name, error.reason))
            self._warn(f'camera {camera.name}: {error}; further ones are counted in /diagnostics')

    def _lose(self, stage: str, cameras: Iterable[Camera], error: Exception) -> None:
        """Tell an error, and count a picture of each camera as lost to it."""
        self._failed(stage, error)  # first: whoever sees the counter can see why
        for camera in cameras:
            camera.failed += 1

    def _failed(self, stage: str, error: Exception) -> None:
        self.failures += 1
        self._newest_failures[stage] = str(error) or type(error).__name__
        self._error(error)

    def _does_well(self, stage: str) -> None:
        self._newest_failures[stage] = ''

    # --- on the encoding thread, or beside it ---------------------------------------------------

    def _publish_features(self, made: Round) -> None:
        watch = Stopwatch()
        with watch.step('publish'):
            published = [name for name in made.features if self._publish(name, made)]
            if made.complete and self._array and self._array.get_subscription_count():
                self._array.publish(self._array_message(made.features))
        if len(published) == len(made.features):
            self._does_well('publish')
        now_ns = time.monotonic_ns()
        for name in published:
            arrival = made.arrivals[name]
            watch.step_ms[f'{name}/receive_to_publish'] = (now_ns - arrival.arrived_ns) / 1e6
            watch.step_ms[f'{name}/stamp_to_publish'] = self._age_ms(arrival)
        self.latencies.add(watch.step_ms)

    def _publish(self, name: str, made: Round) -> bool:
        """Publish the features of one camera, and return whether that went well."""
        camera = self._cameras[name]
        try:
            self._outputs[name].publish_features(made.features[name])
        except Exception as exc:
            self._lose('publish', [camera], exc)
            return False
        camera.encoded += 1
        return True

    def _array_message(self, features: Mapping[str, Mapping[str, Features]]) -> FeatureTensorArray:
        backbones = {name: of_camera[BACKBONE] for name, of_camera in features.items()}
        # The newest stamp: before it, the set was not complete.
        newest = max(backbones.values(), key=lambda f: f.stamp_ns)
        return FeatureTensorArray(
            header=Header(stamp=header_of(newest).stamp),
            tensors=[self._outputs[name].message(f) for name, f in backbones.items()],
            cameras=list(backbones),
        )

    # --- on the decoding thread -----------------------------------------------------------------

    def _publish_maps(self, taken: dict[str, Undecoded]) -> None:
        well = True
        for name, undecoded in taken.items():
            camera, watch = self._cameras[name], undecoded.inferred.watch
            try:
                maps = self._encoder.decode(undecoded.inferred, undecoded.maps)[0]
                with watch.step('publish_maps'):
                    self._outputs[name].publish_maps(maps, camera.info)
            except Exception as exc:
                well = False
                self._failed('decode', exc)
                camera.maps_failed += 1
            else:
                self.latencies.add(watch.step_ms)
        if well:
            self._does_well('decode')

    def _age_ms(self, arrival: Arrival) -> float:
        return (self._clock.now().nanoseconds - stamp_ns(arrival.msg)) / 1e6


def _split(frames: dict[str, Frame], size: int) -> Iterator[dict[str, Frame]]:
    """Give batches of at most `size`."""
    items = iter(frames.items())
    while batch := dict(itertools.islice(items, size)):
        yield batch
