"""Which topics of a recording are cameras, what they are called, and which pictures are taken."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field

from rosbags.interfaces import Connection

from theia_ros.bags.messages import COMPRESSED
from theia_ros.bags.messages import IMAGE
from theia_ros.errors import ParameterError
from theia_ros.rate import RateLimit

_COMPRESSED_TOPIC = '/compressed'
_DEPTH_TOPIC = '/compressedDepth'


@dataclass
class Camera:
    """A camera of a recording, and which of its pictures are taken.

    Attributes:
        name: As in the parameters.
        topic: Topic of its pictures.
        kind: Type of its messages.
        pictures: Number of those that were read.
        limited: Number of those that `--every` or the rate left out.
        longest_gap_s: Between two pictures, by when they were received; 0 with fewer than two.
    """

    name: str
    topic: str
    kind: str
    pictures: int = 0
    limited: int = 0
    longest_gap_s: float = 0.0
    _last_ns: int | None = None
    _limit: RateLimit = field(default_factory=RateLimit)

    def take(self, received_ns: int, every: int, max_rate_hz: float) -> bool:
        """Count a picture that was received, and tell whether it is taken.

        Args:
            received_ns: When it was.
            every: One of so many is taken, the first of all among them.
            max_rate_hz: At most so many in a second, by when they were received; 0 is no limit.
        """
        if self._last_ns is not None:
            self.longest_gap_s = max(self.longest_gap_s, (received_ns - self._last_ns) / 1e9)
        self._last_ns = received_ns
        self.pictures += 1
        if (self.pictures - 1) % every or not self._limit.allows(received_ns):
            self.limited += 1
            return False
        self._limit.count(received_ns, max_rate_hz)
        return True


def choose(
    connections: Sequence[Connection],
    topics: Sequence[str] | None,
    names: Sequence[str] | None,
    node_name: str,
) -> dict[str, Camera]:
    """Return the cameras of a recording by their names.

    Args:
        connections: Of the recording.
        topics: Those of the cameras; by default all with pictures, but for what the encoder
            published itself, depth, and compressed pictures that are there as raw ones too.
        names: Of the cameras, one for each topic; by default made of the topics.
        node_name: Of the encoder, whose own pictures are no camera's.

    Raises:
        ParameterError: A topic is not there or has no pictures, or there is none, or the names
            do not fit.
    """
    kinds = {c.topic: c.msgtype for c in connections if c.msgtype in (IMAGE, COMPRESSED)}
    if topics is None:
        own = f'{node_name.rstrip("/")}/'
        topics = [t for t in kinds if not t.startswith(own) and not t.endswith(_DEPTH_TOPIC)]
        topics = [t for t in topics if t.removesuffix(_COMPRESSED_TOPIC) not in set(topics) - {t}]
        if not topics:
            others = ', '.join(sorted(c.topic for c in connections)) or 'nothing'
            raise ParameterError(f'no topic has pictures; there is {others}')
    _check_once('topic', topics)
    for topic in topics:
        if topic not in kinds:
            found = {c.topic: c.msgtype for c in connections}.get(topic)
            what = f'has type {found}; expected Image or CompressedImage' if found else 'is absent'
            raise ParameterError(f'topic {topic} {what}; with pictures: {", ".join(kinds)}')
    if names is None:
        names = _names(topics)
    if len(names) != len(topics):
        raise ParameterError(
            f'--cameras names {len(names)} and there are {len(topics)} topics with pictures: '
            f'{", ".join(topics)}; give one name for each, or choose with --topics'
        )
    _check_once('camera', names)
    return {n: Camera(n, t, kinds[t]) for n, t in zip(names, topics, strict=True)}


def _names(topics: Sequence[str]) -> list[str]:
    """Return a name for each topic: `front` for `/front/image_raw/compressed`.

    Where two would have the same, they get more of their topics: `front_image_raw`, or all.
    """
    bases = [topic.removesuffix(_COMPRESSED_TOPIC) for topic in topics]
    names = [_identifier(base.rpartition('/')[0] or base) for base in bases]
    for longer in (bases, topics):
        times = Counter(names)
        names = [
            _identifier(more) if times[name] > 1 else name
            for name, more in zip(names, longer, strict=True)
        ]
    return names


def _identifier(topic: str) -> str:
    return re.sub(r'\W', '_', topic.strip('/'))


def _check_once(what: str, names: Sequence[str]) -> None:
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise ParameterError(f'{what} {twice[0]} is named twice; use --topics and --cameras')
