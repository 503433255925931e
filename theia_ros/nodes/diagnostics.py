"""Status messages for /diagnostics."""

from __future__ import annotations

from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticStatus
from diagnostic_msgs.msg import KeyValue

from theia_ros.datatypes import Provenance
from theia_ros.nodes.camera import Camera


def camera_status(node: str, camera: Camera, dropped: int, limit_s: float) -> DiagnosticStatus:
    """Tell how a camera does.

    Args:
        node: Name of the node.
        camera: In question.
        dropped: Pictures replaced by newer ones before they were encoded.
        limit_s: Silence that is worth a warning, seconds; 0 is none.
    """
    bad = sum(camera.bad.values())
    silent_s = camera.silent_s()
    level, message = DiagnosticStatus.OK, 'receiving'
    if limit_s and silent_s > limit_s:
        level, message = DiagnosticStatus.WARN, f'no image on {camera.topic} for {silent_s:.0f} s'
    elif bad:
        reasons = ', '.join(f'{reason} {n}' for reason, n in camera.bad.items())
        level, message = DiagnosticStatus.WARN, f'{bad} bad images: {reasons}'
    return _status(
        f'{node}: camera {camera.name}',
        level,
        message,
        {
            'topic': camera.topic,
            'received': camera.received,
            'encoded': camera.encoded,
            'dropped': dropped,
            'unwanted': camera.unwanted,
            'bad': bad,
            'silent_s': f'{silent_s:.1f}',
        },
    )


def engine_status(node: str, provenance: Provenance, failures: int) -> DiagnosticStatus:
    """Tell how the engine does."""
    level, message = DiagnosticStatus.OK, 'running'
    if failures:
        level, message = DiagnosticStatus.ERROR, f'{failures} batches failed'
    return _status(
        f'{node}: engine',
        level,
        message,
        {
            'model': provenance.model,
            'backend': provenance.recipe.backend,
            'precision': provenance.recipe.precision,
            'device': provenance.device,
            'digest': provenance.recipe.digest,
            'failures': failures,
        },
    )


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
