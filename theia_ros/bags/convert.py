"""From a recording to the result: choose, encode, write."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

import theia_ros
from theia_ros.bags.cameras import Camera
from theia_ros.bags.cameras import choose
from theia_ros.bags.encode import encode
from theia_ros.bags.encode import Maker
from theia_ros.bags.encode import Selection
from theia_ros.bags.expect import check_expected
from theia_ros.bags.journal import Journal
from theia_ros.bags.journal import written
from theia_ros.bags.messages import as_plain
from theia_ros.bags.messages import info_of
from theia_ros.bags.source import Source
from theia_ros.bags.summary import encoded
from theia_ros.bags.summary import summary
from theia_ros.bags.summary import why_nothing
from theia_ros.bags.work import check_free
from theia_ros.bags.work import MARK
from theia_ros.bags.work import Work
from theia_ros.bags.write_bag import check_topics
from theia_ros.bags.write_bag import new_topics
from theia_ros.bags.write_bag import write_bag
from theia_ros.bags.write_shards import write_shards
from theia_ros.catalog import check_tensors
from theia_ros.encoder import Encoder
from theia_ros.engine import Report
from theia_ros.errors import BagError
from theia_ros.params import EncoderParams
from theia_ros.params import NodeParams

_DELAY_S = 2.0

BAG = 'bag'
"""Format of a result that is a bag; the others are those of `write_shards`."""


@dataclass(frozen=True)
class Request:
    """What to make of a recording.

    Attributes:
        bag: The recording.
        out: The result.
        params: Of the encoder.
        tensors: Names of those that are made of each picture.
        dtype: Number format of the features, as `feature_dtype` of the node.
        topics: Of the cameras; None is all that have pictures.
        cameras: Names of the cameras; None makes them of the topics.
        start_s: Leaves out what was received earlier, seconds after the start of the recording.
        end_s: Leaves out what was received then or later, seconds after the same start.
        every: One picture of so many of each camera.
        max_rate_hz: As the node's.
        batch: Pictures of one pass; None is what suits the device.
        expect: Digest that the features must have, or its first digits; None is any.
        format: `BAG`, or one of `write_shards.FORMATS`.
        storage: Of a bag; None is that of the recording.
        node_name: Of the node that the features of a bag seem to come from.
        without_images: Whether a bag has the pictures that features were made of.
        shard_bytes: Of the features in a shard.
        overwrite: Whether an earlier result, or what is left of one, may be replaced.
    """

    bag: Path
    out: Path
    params: EncoderParams
    tensors: tuple[str, ...]
    dtype: str
    topics: tuple[str, ...] | None = None
    cameras: tuple[str, ...] | None = None
    start_s: float | None = None
    end_s: float | None = None
    every: int = 1
    max_rate_hz: tuple[float, ...] = (0.0,)
    batch: int | None = None
    expect: str | None = None
    format: str = BAG
    storage: str | None = None
    node_name: str = '/theia'
    without_images: bool = False
    shard_bytes: int = 256_000_000
    overwrite: bool = False


def convert(
    request: Request,
    stages: Callable[[], AbstractContextManager[Report]],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Make what is asked for, whole or not at all, and return what was done in plain values.

    Args:
        request: What is asked for.
        stages: Makes what is told of things that may take long, while it is open.
        say: Is told what people should know at once.

    Raises:
        BagError: The recording cannot be read, or has no picture that can be used, or the result
            cannot be written.
        EngineError: The engine cannot be opened, or fails.
        ParameterError: What is asked for makes no sense with this recording.
        WeightsError: The model is missing or does not fit.
    """
    check_free(request.out, request.overwrite)
    with stages() as report:
        report(f'looking into {request.bag}')
        opened = Source(request.bag)
    with opened as source:
        for note in source.notes:
            say(note)
        cameras = choose(source.connections, request.topics, request.cameras, request.node_name)
        topics = new_topics(request.node_name, list(cameras), request.tensors)
        if request.format == BAG:
            check_topics(source, topics)
        selection = _selection(request, source, cameras)
        with stages() as report:
            loaded = Encoder(request.params, report)
        with loaded as encoder:
            check_tensors(request.params.model, request.tensors, encoder.tensors)
            if request.expect:
                check_expected(encoder.provenance.recipe, request.expect)
            batch = request.batch or _default_batch(encoder)
            job = _job(request, source, encoder, batch)
            with Work(request.out, job, request.overwrite) as work:
                with stages() as report:
                    report(f'looking into {work.journal}')
                    journal = Journal(work.journal)
                with journal:
                    told = _encode(request, source, selection, encoder, batch, journal, say)
                    if not encoded(told['cameras']):
                        work.discard()
                        raise BagError(why_nothing(str(request.bag), told['cameras']))
                    _write(request, source, selection, journal, topics, encoder, work.result, told)
                work.finish()
    return told


def _default_batch(encoder: Encoder) -> int:
    """Return 1, as a camera alone gets of the node, but on CUDA what the engine takes at once."""
    on_cuda = encoder.provenance.device.startswith('cuda')
    return encoder.max_batch if on_cuda else 1


def _selection(request: Request, source: Source, cameras: Mapping[str, Camera]) -> Selection:
    """Return which pictures are taken; the node's own rules judge names and rates."""
    checked = NodeParams(
        **asdict(request.params),
        cameras=tuple(cameras),
        image_topics=tuple(camera.topic for camera in cameras.values()),
        feature_dtype=request.dtype,
        max_rate_hz=request.max_rate_hz,
    )
    rates = checked.max_rate_hz
    if len(rates) == 1:
        rates *= len(cameras)
    length_ns = source.end_ns + 1 - source.start_ns
    start_ns, end_ns = (
        None if offset_s is None else source.start_ns + round(min(offset_s * 1e9, length_ns))
        for offset_s in (request.start_s, request.end_s)
    )
    by_name = dict(zip(cameras, rates, strict=True))
    return Selection(cameras, start_ns, end_ns, request.every, by_name)


def _encode(
    request: Request,
    source: Source,
    selection: Selection,
    encoder: Encoder,
    batch: int,
    journal: Journal,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Encode what the journal does not hold yet, and return what was done."""
    if journal.next_index:
        say(f'going on after {journal.next_index} pictures, from {journal.path.parent}')
    maker = Maker(encoder, request.tensors, request.dtype, batch, say)
    with _Progress(_about(source, selection), 'image') as progress:
        encode(source, selection, maker, journal, progress.move, say)
    return {
        'made_by': f'{MARK} {theia_ros.__version__}',
        'source': request.bag.name,
        'notes': source.notes,
        'digest': encoder.provenance.recipe.digest,
        'batch': batch,
        'cameras': summary(selection.cameras, journal),
    }


def _write(
    request: Request,
    source: Source,
    selection: Selection,
    journal: Journal,
    topics: list[str],
    encoder: Encoder,
    folder: Path,
    told: dict[str, Any],
) -> None:
    """Make the result of the journal; adds to `told` what only a result of this format has."""
    image_topics = {c.name: c.topic for c in selection.cameras.values()}
    start_ns = max(source.start_ns, selection.start_ns or 0)
    info = info_of(encoder.provenance, request.dtype, start_ns, image_topics)
    if request.format != BAG:
        _write_shards(request, journal, image_topics, info, folder, told)
        return
    whole = selection.start_ns is None and selection.end_ns is None
    messages = source.message_count if whole else None
    with _Progress(messages, 'message', 'writing') as progress:
        write_bag(
            folder,
            request.storage or source.storage,
            source,
            selection,
            journal,
            topics,
            info,
            request.without_images,
            json.dumps(told),
            progress.move,
        )


def _write_shards(
    request: Request,
    journal: Journal,
    image_topics: Mapping[str, str],
    info: Any,
    folder: Path,
    told: dict[str, Any],
) -> None:
    """Write the shards, and beside them all that is told of the result."""
    told['encoder_info'] = as_plain(info)
    with _Progress(encoded(told['cameras']), 'image', 'writing') as progress:
        shards = write_shards(
            folder,
            request.format,
            image_topics,
            journal,
            told['encoder_info'],
            request.shard_bytes,
            progress.move,
        )
    for name, files in shards.items():
        told['cameras'][name]['shards'] = files
    with written(folder):
        (folder / 'info.json').write_text(json.dumps(told, indent=2) + '\n')


def _job(request: Request, source: Source, encoder: Encoder, batch: int) -> dict[str, Any]:
    """Return what decides the result, by which a request is known again."""
    asked = asdict(request)
    for name in ('bag', 'out', 'expect', 'overwrite'):  # which the result does not depend on
        del asked[name]
    provenance = encoder.provenance
    return {
        **asked,
        'IN': source.identity(),
        'batch': batch,
        'digest': provenance.recipe.digest,
        'engine': provenance.engine_fingerprint,
        'device': provenance.device,
        'versions': provenance.versions,
    }


def _about(source: Source, selection: Selection) -> int:
    """Return how many pictures there are; of a part of the recording, about."""
    counts = {(c.topic, c.msgtype): c.msgcount for c in source.connections}
    total = sum(counts[c.topic, c.kind] for c in selection.cameras.values())
    start_ns = selection.start_ns or source.start_ns
    end_ns = min(selection.end_ns or source.end_ns, source.end_ns)
    part = (end_ns - start_ns) / max(source.end_ns - source.start_ns, 1)
    return int(total * min(1.0, max(0.0, part)))


class _Progress:
    """A bar with the rate and the time left, for what takes longer than two seconds.

    It is made only then, so that the rate is not that of the start, and nothing is shown before.
    """

    def __init__(self, total: int | None, unit: str, title: str | None = None) -> None:
        self._options = {'total': total, 'unit': unit, 'desc': title, 'leave': False}
        self._due = time.monotonic() + _DELAY_S
        self._bar: Any = None

    def move(self, place: int) -> None:
        if self._bar:
            self._bar.update(place - self._bar.n)
        elif time.monotonic() >= self._due:
            self._bar = tqdm(initial=place, **self._options)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.close()
