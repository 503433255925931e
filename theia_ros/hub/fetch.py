"""One file of the cache, fetched, checked and recorded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import datetime
from datetime import timezone
from functools import partial
from pathlib import Path

from theia_ros.errors import WeightsError
from theia_ros.hub import header
from theia_ros.hub import store
from theia_ros.hub import web
from theia_ros.hub.download import download
from theia_ros.hub.download import Plan
from theia_ros.hub.patience import patiently
from theia_ros.hub.patience import Report
from theia_ros.hub.sources import Asset


def fetch(asset: Asset, *, accepted: bool, report: Report) -> store.Record:
    """Download a file into the cache, replacing what is there.

    It appears whole and checked, or not at all.

    Args:
        asset: Names the file.
        accepted: Whether the user agreed to its licence; recorded.
        report: Gets a line for people before each pause.

    Raises:
        WeightsError: It cannot be had, is damaged, or is not what it should be.
    """
    remote = patiently(partial(web.look_up, asset.url()), report)
    url = asset.url(remote.revision)
    if asset.tensors:
        plan = _plan(asset, url, remote, report)
    else:
        plan = Plan(url, remote.etag, remote.size, ((0, remote.size),))
    part, sha256 = download(plan, asset.path, report)
    expected = asset.sha256 or (None if asset.tensors else remote.sha256)
    record = store.Record(
        repo=asset.repo,
        file=asset.file,
        revision=remote.revision or asset.revision,
        etag=remote.etag,
        size=plan.total,
        sha256=sha256,
        fetched=_now(),
        licence=asset.licence.name,
        licence_accepted=accepted,
        tensors=asset.tensors,
    )
    _keep(asset, part, record, expected)
    if asset.numbers and (found := header.numbers(header.read(asset.path))) != asset.numbers:
        report(
            f'note: {asset.place} holds {found} numbers where {asset.numbers} were expected; '
            'it may not fit'
        )
    return record


def copy(asset: Asset, folder: Path) -> store.Record:
    """Copy a file of the user's own into the cache, if it has the published content.

    Raises:
        WeightsError: It is missing or another one.
    """
    source = folder / asset.path.name
    sha256 = store.sha256_of(source)
    if sha256 != asset.sha256:
        raise WeightsError(f'{source}: expected sha256 {asset.sha256}, found {sha256}')
    part = asset.path.with_name(f'{source.name}.copy.part')
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, part)
    except OSError as exc:
        raise WeightsError(f'{asset.path} cannot be written: {exc.strerror}') from exc
    record = store.Record(
        repo='a folder of the user',
        file=source.name,
        revision=None,
        etag=None,
        size=part.stat().st_size,
        sha256=sha256,
        fetched=_now(),
        licence=asset.licence.name,
        licence_accepted=False,
    )
    _keep(asset, part, record, asset.sha256)
    return record


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec='seconds')


def _plan(asset: Asset, url: str, remote: web.Remote, report: Report) -> Plan:
    """Find the wanted tensors in a large file, by its header alone."""
    get = partial(web.read_range, url, size=remote.size, report=report)
    start = header.LENGTH_BYTES
    try:
        length = header.header_bytes(get(begin=0, end=min(start, remote.size)), remote.size)
        entries = header.parse(get(begin=start, end=start + length), remote.size)
        wanted = header.select(entries, asset.tensors)
    except web.RangesIgnoredError as exc:
        raise WeightsError(
            f'{exc}; the whole file has {remote.size / 1e6:.0f} MB and is not downloaded '
            'unasked: try another HF_ENDPOINT or proxy, or go without with --no-decoders'
        ) from exc
    except header.HeaderError as exc:
        raise WeightsError(f'{asset.repo}/{asset.file}: {exc}') from exc
    prefix, ranges = header.cut(wanted)
    return Plan(url, remote.etag, remote.size, ranges, prefix)


def _keep(asset: Asset, part: Path, record: store.Record, expected: str | None) -> None:
    """Check a complete partial file and give it its name, or remove it."""
    try:
        if expected and record.sha256 != expected:
            raise WeightsError(f'expected sha256 {expected}, found {record.sha256}')
        if check := _CHECKS.get(asset.path.suffix):
            check(part)
    except WeightsError as exc:
        part.unlink()
        raise WeightsError(
            f'{asset.repo}/{asset.file} came damaged or altered: {exc}; nothing of it was kept, '
            'run it again, or check HF_ENDPOINT and the proxy'
        ) from exc
    store.keep(part, asset.path, record)


def _check_json(path: Path) -> None:
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (ValueError, RecursionError) as exc:
        raise WeightsError('it is not JSON') from exc
    if not isinstance(content, dict):
        raise WeightsError('it is no JSON object')


def _check_tensors(path: Path) -> None:
    header.read(path)


_CHECKS: dict[str, Callable[[Path], None]] = {
    '.json': _check_json,
    '.safetensors': _check_tensors,
}
"""By the ending of the file's name. The log-in page of a network does not pass."""
