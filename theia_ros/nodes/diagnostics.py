"""What the node tells of itself once a second: /diagnostics and `~/latency`."""

from __future__ import annotations

import time
from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticStatus
from diagnostic_msgs.msg import KeyValue

from theia_ros.datatypes import Provenance
from theia_ros.nodes.camera import Camera
from theia_ros.nodes.pipeline import Pipeline
from theia_ros.nodes.process import resident_mb
from theia_ros.timing import Spread

_BAD_NEWS_NS = 10_000_000_000
"""How long a bad image is worth a warning."""

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


def camera_status(
    node: str, camera: Camera, pipeline: Pipeline, spreads: Mapping[str, Spread], limit_s: float
) -> DiagnosticStatus:
    """Tell how a camera does: WARN when it is silent or had bad pictures lately.

    Args:
        node: Name of the node.
        camera: The camera in question.
        pipeline: The pipeline that serves it.
        spreads: Latencies of the pipeline, by step.
        limit_s: Silence that is worth a warning, seconds; 0 is none.
    """
    bad = sum(camera.bad.values())
    silent_s = camera.silent_s()
    level, message = OK, 'receiving'
    if limit_s and silent_s > limit_s:
        level, message = WARN, f'no image on {camera.topic} for {silent_s:.0f} s'
    elif bad:
        reasons = ', '.join(f'{reason} {n}' for reason, n in camera.bad.items())
        message = f'{bad} bad images: {reasons}'
        if time.monotonic_ns() - camera.last_bad_ns < _BAD_NEWS_NS:
            level = WARN
    values: dict[str, object] = {
        'topic': camera.topic,
        'received': camera.received,
        'encoded': camera.encoded,
        'dropped': pipeline.dropped(camera.name),
        'limited': camera.limited,
        'stale': camera.stale,
        'unwanted': camera.unwanted,
        'bad': bad,
        'failed': camera.failed,
        'maps_skipped': pipeline.skipped(camera.name),
        'maps_failed': camera.maps_failed,
        'lost': camera.lost,
        'silent_s': f'{silent_s:.1f}',
    }
    prefix = f'{camera.name}/'
    own = {n.removeprefix(prefix): s for n, s in spreads.items() if n.startswith(prefix)}
    values |= _figures(own)
    return _status(f'{node}: camera {camera.name}', level, message, values)


def engine_status(
    node: str,
    provenance: Provenance,
    pipeline: Pipeline | None,
    spreads: Mapping[str, Spread],
) -> DiagnosticStatus:
    """Tell how the engine does: ERROR while the newest batch failed, WARN after any did.

    Args:
        node: Name of the node.
        provenance: Where the encoder's numbers come from.
        pipeline: The pipeline that uses it; None while the node is inactive.
        spreads: Latencies of the pipeline, by step.
    """
    level, message = OK, 'running' if pipeline else 'inactive'
    failures = pipeline.failures if pipeline else 0
    last_failure = pipeline.last_failure if pipeline else ''
    if last_failure:
        level, message = ERROR, f'the newest batch failed: {last_failure}'
    elif failures:
        level, message = WARN, f'running, but {failures} batches failed'
    recipe = provenance.recipe
    values: dict[str, object] = {
        'model': provenance.model,
        'backend': recipe.backend,
        'precision': recipe.precision,
        'device': provenance.device,
        'digest': recipe.digest,
        'failures': failures,
        'memory_mb': f'{resident_mb():.0f}',
    }
    for tensor in provenance.tensors:
        values[f'{tensor.name} parity_cosine'] = f'{tensor.cosine:.7f}'
        values[f'{tensor.name} parity_max_abs_error'] = f'{tensor.max_abs_error:.2e}'
    values |= _figures({name: s for name, s in spreads.items() if '/' not in name})
    return _status(f'{node}: engine', level, message, values)


def progress_status(node: str, stage: str) -> DiagnosticStatus:
    """Tell what the node does while it is configured."""
    return _status(f'{node}: engine', WARN, f'configuring: {stage}', {})


def _figures(spreads: Mapping[str, Spread]) -> dict[str, object]:
    return {
        f'{name}_ms p50/p95/p99': f'{s.p50_ms:.2f} / {s.p95_ms:.2f} / {s.p99_ms:.2f}'
        for name, s in spreads.items()
    }


def _status(
    name: str, level: bytes, message: str, values: Mapping[str, object]
) -> DiagnosticStatus:
    return DiagnosticStatus(
        name=name,
        level=level,
        message=message,
        hardware_id='theia_ros',
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )
