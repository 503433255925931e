"""What browsers are told of encoder nodes, beside the pictures: plain values for JSON."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from theia_msgs.msg import EncoderInfo
from theia_msgs.msg import Latency

from theia_ros.view.panes import Pane

OURS = 'theia_ros'
"""Hardware id of the encoder's statuses."""
_LEVELS = {
    DiagnosticStatus.OK: 'ok',
    DiagnosticStatus.WARN: 'warn',
    DiagnosticStatus.ERROR: 'error',
}
_SILENT_S = 3.5
"""A node that has told nothing for so long, though it tells something every second, is away."""


@dataclass
class Heard:
    """What an encoder node has told.

    Attributes:
        info: Newest provenance; None before the first.
        latency: Newest latencies; None before the first.
        heard_s: When it told something last, by the steady clock.
        cameras: Panes of each camera, as they could be seen last.
    """

    info: EncoderInfo | None = None
    latency: Latency | None = None
    heard_s: float = -math.inf
    cameras: dict[str, list[Pane]] = field(default_factory=dict)


def state_of(
    nodes: Mapping[str, Heard], statuses: Mapping[str, DiagnosticStatus], domain: int
) -> dict[str, Any]:
    """Return what browsers are told.

    Args:
        nodes: By full name.
        statuses: Newest of each name, of hardware `OURS`.
        domain: Number of the ROS domain.
    """
    return {
        'nodes': [_node(name, heard, statuses) for name, heard in sorted(nodes.items())],
        'starting': [
            f'{status.name.partition(":")[0]}: {status.message}'
            for status in statuses.values()
            if status.message.startswith('configuring')
        ],
        'domain': domain,
    }


def is_engine_of(status: DiagnosticStatus, node: str, info: EncoderInfo | None) -> bool:
    """Tell whether a status is of a node's engine; statuses hold the last part of its name."""
    if status.name != f'{node.rpartition("/")[2]}: engine':
        return False
    digest = _values(status).get('digest')
    return not (info and digest) or bool(digest == info.digest)


def _node(name: str, heard: Heard, statuses: Mapping[str, DiagnosticStatus]) -> dict[str, Any]:
    engine = next((s for s in statuses.values() if is_engine_of(s, name, heard.info)), None)
    steps = heard.latency.steps if heard.latency else ()
    silent_s = time.monotonic() - heard.heard_s
    return {
        'name': name,
        'away_s': round(silent_s) if _SILENT_S < silent_s < math.inf else None,
        'status': _status(engine),
        'memory_mb': _values(engine).get('memory_mb'),
        'info': heard.info and _info(heard.info),
        'steps': _steps(steps, ''),
        'cameras': [
            _camera(name, camera, panes, steps, statuses)
            for camera, panes in heard.cameras.items()
        ],
    }


def _camera(
    node: str,
    camera: str,
    panes: Sequence[Pane],
    steps: Sequence[Any],
    statuses: Mapping[str, DiagnosticStatus],
) -> dict[str, Any]:
    status = statuses.get(f'{node.rpartition("/")[2]}: camera {camera}')
    if _values(status).get('topic') != panes[0].topic:
        status = None  # of a node with the same name elsewhere
    return {
        'name': camera,
        'status': _status(status),
        'counters': [[k, int(v)] for k, v in _values(status).items() if v.isdecimal()],
        'steps': _steps(steps, camera),
        'panes': [{'topic': pane.topic, 'title': pane.title} for pane in panes],
    }


def _values(status: DiagnosticStatus | None) -> dict[str, str]:
    return {v.key: v.value for v in status.values} if status else {}


def _status(status: DiagnosticStatus | None) -> list[str] | None:
    """Return level and message for people."""
    return [_LEVELS.get(status.level, 'error'), status.message] if status else None


def _steps(steps: Sequence[Any], camera: str) -> list[list[Any]]:
    """Return name and p50, p95 and p99, ms, of the steps of a camera, or of all of them."""
    return [
        [step.step, *_finite(step.p50_ms, step.p95_ms, step.p99_ms)]
        for step in steps
        if step.camera == camera
    ]


def _info(info: EncoderInfo) -> dict[str, Any]:
    return {
        'model': info.model,
        'backend': info.backend,
        'precision': info.precision,
        'device': info.device,
        'preprocessing': info.preprocessing,
        'reduction': info.reduction,
        'digest': info.digest,
        'weights': info.weights_sha256,
        'versions': list(info.versions),
        'tensors': [
            [t.name, list(t.shape), *_finite(t.parity_cosine, t.parity_max_abs_error)]
            for t in info.tensors
        ],
    }


def _finite(*numbers: float) -> Iterator[float | None]:
    """Give numbers, and None for those that JSON has no word for."""
    for number in numbers:
        yield number if math.isfinite(number) else None
