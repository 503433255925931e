"""The pictures of a recording, in batches through the encoder and into the journal."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from dataclasses import field

from theia_ros.bags.cameras import Camera
from theia_ros.bags.journal import Journal
from theia_ros.bags.journal import Made
from theia_ros.bags.messages import features_as_bytes
from theia_ros.bags.messages import frame_of
from theia_ros.bags.source import Source
from theia_ros.datatypes import Frame
from theia_ros.encoder import Encoder
from theia_ros.errors import EngineError
from theia_ros.errors import FrameError
from theia_ros.errors import one_line

_MOST_BAD = 1000
"""Bad pictures in a row after which the journal is told of them."""


@dataclass(frozen=True)
class Selection:
    """Which pictures of a recording are taken.

    Attributes:
        cameras: By name.
        start_ns: When the first was received, or later; None is the start of the recording.
        end_ns: Before which they were received; None is the end of the recording.
        every: One of so many of each camera.
        max_rate_hz: Of each camera, by when pictures were received; 0 is no limit.
    """

    cameras: Mapping[str, Camera]
    start_ns: int | None = None
    end_ns: int | None = None
    every: int = 1
    max_rate_hz: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """Pictures that are encoded together, and the bad ones before the last of them.

    Attributes:
        frames: With the picture that each is of.
        bad: With what was wrong with each.
        next_index: Of the first picture after all of these.
    """

    frames: Sequence[tuple[Made, Frame]]
    bad: Sequence[tuple[Made, FrameError]]
    next_index: int


class Maker:
    """Encode batches of one size, whatever the number of pictures.

    The numbers of a picture may differ in the last bits with the size of its batch. So a batch
    that is not full is filled with its last picture.

    Attributes:
        size: Pictures of each pass of the model.
    """

    def __init__(
        self,
        encoder: Encoder,
        tensors: Sequence[str],
        dtype: str,
        size: int,
        warn: Callable[[str], None],
    ) -> None:
        """Take what is needed.

        Args:
            encoder: Makes the features.
            tensors: Names of those that are made of each picture.
            dtype: Number format of the messages, as `feature_dtype` of the node.
            size: As above; halved when the device cannot take as many.
            warn: Is told of that.
        """
        self.size = size
        self._encoder = encoder
        self._tensors = tensors
        self._dtype = dtype
        self._warn = warn

    def make(self, frames: Sequence[Frame]) -> list[tuple[bytes, ...] | FrameError]:
        """Return the features of each picture as messages, or why there are none.

        Raises:
            EngineError: The engine fails, also on a single picture.
        """
        found: list[tuple[bytes, ...] | FrameError] = []
        try:
            for start in range(0, len(frames), self.size):
                found += self._pass(frames[start : start + self.size])
        except FrameError as exc:
            if len(frames) == 1:
                return [exc]
            # One picture must not cost the others theirs.
            return [result for frame in frames for result in self.make([frame])]
        except (EngineError, RuntimeError, MemoryError) as exc:
            what = one_line(exc)
            if self.size == 1:
                raise EngineError(f'the engine failed: {what}') from exc
            self._warn(f'batches of {self.size} fail, going on with {self.size // 2}: {what}')
            self.size //= 2
            return self.make(frames)
        return found

    def _pass(self, frames: Sequence[Frame]) -> list[tuple[bytes, ...]]:
        full = [*frames, *[frames[-1]] * (self.size - len(frames))]
        params, digest = self._encoder.params, self._encoder.provenance.recipe.digest
        return [
            tuple(
                features_as_bytes(encoded.features[name], self._dtype, params.model, digest)
                for name in self._tensors
            )
            for encoded in self._encoder.encode(full, self._tensors)[: len(frames)]
        ]


def encode(
    source: Source,
    selection: Selection,
    maker: Maker,
    journal: Journal,
    advance: Callable[[int], None],
    warn: Callable[[str], None],
) -> None:
    """Encode all pictures that the journal does not tell of yet.

    Args:
        source: The recording.
        selection: Which pictures are taken.
        maker: Makes the features.
        journal: Is told of every picture that is taken.
        advance: Is told of the index of the next picture, now and then.
        warn: Is told of the first bad picture of each camera and reason.

    Raises:
        BagError: The recording cannot be read, or the journal not be written.
        EngineError: The engine fails.
    """
    told: set[tuple[str, str]] = set()

    def refused(made: Made, error: FrameError) -> Made:
        if (made.camera, error.reason) not in told:
            told.add((made.camera, error.reason))
            warn(f'camera {made.camera}: {error}; further ones are only counted')
        return Made(made.index, made.camera, made.received_ns, error.reason)

    batches = _batches(source, selection, maker.size, journal.next_index)
    # The next batch is read and unpacked while this one is encoded.
    with ThreadPoolExecutor(1, 'theia-reader') as reader:
        coming = reader.submit(next, batches, None)
        while batch := coming.result():
            coming = reader.submit(next, batches, None)
            made = [refused(one, error) for one, error in batch.bad]
            results = maker.make([frame for _, frame in batch.frames])
            for (one, _), result in zip(batch.frames, results, strict=True):
                if isinstance(result, FrameError):
                    made.append(refused(one, result))
                else:
                    made.append(Made(one.index, one.camera, one.received_ns, '', result))
            journal.add(sorted(made, key=lambda m: m.index), batch.next_index)
            advance(batch.next_index)


def _batches(source: Source, selection: Selection, size: int, first_index: int) -> Iterator[Batch]:
    """Give the pictures from `first_index` on; earlier ones only count for the selection."""
    frames: list[tuple[Made, Frame]] = []
    bad: list[tuple[Made, FrameError]] = []
    by_topic = {(c.topic, c.kind): c for c in selection.cameras.values()}
    index = -1
    for connection, received_ns, raw in source.messages(selection.start_ns, selection.end_ns):
        camera = by_topic.get((connection.topic, connection.msgtype))
        if not camera:
            continue
        index += 1
        limit_hz = selection.max_rate_hz.get(camera.name, 0.0)
        if not camera.take(received_ns, selection.every, limit_hz) or index < first_index:
            continue
        one = Made(index, camera.name, received_ns)
        try:
            frames.append((one, frame_of(raw, camera.kind)))
        except FrameError as exc:
            bad.append((one, exc))
        if len(frames) == size or len(bad) == _MOST_BAD:
            yield Batch(frames, bad, index + 1)
            frames, bad = [], []
    if frames or bad or index >= first_index:
        yield Batch(frames, bad, index + 1)
