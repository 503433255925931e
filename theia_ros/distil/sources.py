"""Pictures to learn from: image files, videos and bags, and folders of them."""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theia_ros.errors import FrameError
from theia_ros.errors import ParameterError
from theia_ros.images import read_rgb

IMAGES = ('.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp')
VIDEOS = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.webm')
BAGS = ('.bag', '.db3', '.mcap')
_BAG_FOLDER = 'metadata.yaml'


@dataclass(frozen=True)
class Sample:
    """A picture, and what a simulator knows of it.

    Attributes:
        name: Where it comes from.
        series: File, and topic, of a video or a bag; empty for a picture of its own.
        rgb: (H, W, 3) uint8, red first.
        depth_m: (h, w) along the optical axis, metres, 0 where it is not known.
        labels: (h, w) uint8, a class, 255 where it is not known.
    """

    name: str
    series: str
    rgb: NDArray[np.uint8]
    depth_m: NDArray[np.float32] | None = None
    labels: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Reading:
    """How pictures are taken from files that hold many.

    Attributes:
        rate_hz: Most pictures of a second of a video or a bag.
        topics: Of a bag; none: all that carry pictures.
    """

    rate_hz: float = 2.0
    topics: tuple[str, ...] = ()


def find(paths: Sequence[Path]) -> list[Path]:
    """Return the image files, videos and bags that are named or lie below the folders named.

    Raises:
        ParameterError: One is absent or of no known kind, or a folder holds none.
    """
    found: dict[Path, None] = {}  # a dict for a set that keeps its order
    for path in paths:
        if not path.exists():
            raise ParameterError(f'{path}: no such file or folder')
        below = _below(path) if path.is_dir() and not _is_bag(path) else [path]
        if not below:
            raise ParameterError(f'{path} holds no image, video or bag')
        if path.is_file() and path.suffix.lower() not in IMAGES + VIDEOS + BAGS:
            known = ' '.join(IMAGES + VIDEOS + BAGS)
            raise ParameterError(f'{path} is of no known kind; known: {known}')
        found |= dict.fromkeys(below)
    return list(found)


def _below(folder: Path) -> list[Path]:
    found = []
    for root, folders, names in os.walk(folder, followlinks=True):
        if root != str(folder) and _is_bag(Path(root)):
            found.append(Path(root))
            folders.clear()
            continue
        found += [
            Path(root, name)
            for name in names
            if Path(name).suffix.lower() in IMAGES + VIDEOS + BAGS
        ]
    return sorted(found)


def _is_bag(path: Path) -> bool:
    return path.is_dir() and (path / _BAG_FOLDER).is_file()


def stamp(path: Path) -> list[Any]:
    """Return what changes when a source does: its files, their sizes and times."""
    files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    truth = truth_file(path)
    files += [truth] if truth.is_file() else []
    return [[str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns] for f in files]


def samples(source: Path, reading: Reading, bad: Counter[str]) -> Iterator[Sample]:
    """Give the pictures of a source in order; what cannot be decoded is counted by reason.

    Raises:
        ParameterError: A library is missing, or a bag has no such topic.
    """
    if source.suffix.lower() in IMAGES and source.is_file():
        try:
            yield Sample(f'{source.parent.name}/{source.name}', '', read_rgb(source))
        except FrameError as exc:
            bad[exc.reason] += 1
    elif source.suffix.lower() in VIDEOS:
        yield from _of_video(source, reading, bad)
    else:
        yield from _of_bag(source, reading, bad)


def truth_file(video: Path) -> Path:
    """Return where the truth of a video lies, as `scripts/render_clip.py` writes it."""
    return video.with_name(f'{video.stem}_truth.npz')


def class_names(video: Path) -> list[str]:
    """Return the names of the classes of a video's truth; empty where nobody wrote them down."""
    try:
        names = json.loads(video.with_suffix('.json').read_text())['classes']
        return [str(name) for name in names]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _of_video(path: Path, reading: Reading, bad: Counter[str]) -> Iterator[Sample]:
    try:
        import cv2
    except ImportError as exc:
        raise ParameterError(
            f'{path}: videos need OpenCV ({exc}); install python3-opencv with apt, or '
            'opencv-python-headless with pip'
        ) from exc
    truth = _Truth.read(path)
    capture = cv2.VideoCapture(str(path))
    try:
        rate_hz = capture.get(cv2.CAP_PROP_FPS) or 30.0
        taken = 0
        for i in itertools.count():
            if not capture.grab():
                break
            # Of pictures with truth all are taken: whoever rendered them chose the rate.
            wanted = i in truth.rows if truth else i / rate_hz * reading.rate_hz >= taken
            if not wanted:
                continue
            there, bgr = capture.retrieve()
            if not there:
                bad['decode'] += 1
                continue
            taken += 1
            depth_m, labels = truth.of(i) if truth else (None, None)
            yield Sample(
                f'{path.name} {i}',
                str(path),
                cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB),
                depth_m,
                labels,
            )
        if not taken:
            bad['video'] += 1
    finally:
        capture.release()


@dataclass(frozen=True)
class _Truth:
    """Depth and classes of some frames of a video."""

    rows: dict[int, int]
    depth_mm: NDArray[np.uint16]
    labels: NDArray[np.uint8]

    @classmethod
    def read(cls, video: Path) -> _Truth | None:
        path = truth_file(video)
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as arrays:
                index, depth_mm, labels = (
                    arrays[name] for name in ('frame_index', 'depth_mm', 'labels')
                )
        except (OSError, ValueError, KeyError, EOFError) as exc:
            raise ParameterError(
                f'{path} is no truth of a video: {exc}; expected the arrays frame_index, depth_mm '
                'and labels'
            ) from exc
        if not len(index) == len(depth_mm) == len(labels) or depth_mm.ndim != 3 != labels.ndim:
            raise ParameterError(
                f'{path}: expected one (h, w) map for each of {len(index)} frames, found depth_mm '
                f'{depth_mm.shape} and labels {labels.shape}'
            )
        return cls({int(frame): row for row, frame in enumerate(index)}, depth_mm, labels)

    def of(self, frame: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        row = self.rows[frame]
        return (self.depth_mm[row] / 1000).astype(np.float32), self.labels[row].astype(np.uint8)


def _of_bag(path: Path, reading: Reading, bad: Counter[str]) -> Iterator[Sample]:
    try:
        from theia_ros.bags.messages import COMPRESSED
        from theia_ros.bags.messages import frame_of
        from theia_ros.bags.messages import IMAGE
        from theia_ros.bags.source import Source
    except ImportError as exc:
        raise ParameterError(
            f"{path}: bags need rosbags and mcap ({exc}); run: pip install 'theia_ros[distil]'"
        ) from exc
    taken: Counter[str] = Counter()
    first_ns: dict[str, int] = {}
    with Source(path) as bag:
        there = {c.topic for c in bag.connections if c.msgtype in (IMAGE, COMPRESSED)}
        chosen = there & set(reading.topics) if reading.topics else there
        if not chosen:
            known = ', '.join(sorted(there)) or 'none at all'
            raise ParameterError(f'{path}: no such topic with pictures; it has {known}')
        for connection, time_ns, raw in bag.messages():
            topic = connection.topic
            if topic not in chosen or connection.msgtype not in (IMAGE, COMPRESSED):
                continue
            passed_s = (time_ns - first_ns.setdefault(topic, time_ns)) / 1e9
            if passed_s * reading.rate_hz < taken[topic]:
                continue
            try:
                rgb = frame_of(raw, connection.msgtype).rgb
            except FrameError as exc:
                bad[exc.reason] += 1
                continue
            taken[topic] += 1
            yield Sample(f'{path.name} {topic} {time_ns}', f'{path}:{topic}', rgb)
