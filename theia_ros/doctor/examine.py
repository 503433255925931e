"""Every check, in the order in which they are read."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping

from theia_ros.doctor import engine
from theia_ros.doctor import gpu
from theia_ros.doctor import memory
from theia_ros.doctor import model
from theia_ros.doctor import python
from theia_ros.doctor import ros
from theia_ros.doctor import storage
from theia_ros.doctor import transport
from theia_ros.doctor.facts import Facts
from theia_ros.doctor.finding import Finding
from theia_ros.doctor.finding import warning

Check = Callable[[Facts], Iterable[Finding]]

CHECKS: Mapping[str, tuple[Check, ...]] = {
    'Python': (python.version, python.packages, python.resize),
    'ROS': (ros.rclpy, ros.messages, ros.node, ros.cv_bridge, ros.opencv),
    'Transport': (
        transport.middleware,
        transport.domain,
        memory.space,
        memory.leftovers,
        transport.images,
    ),
    'GPU': (gpu.torch, gpu.devices, gpu.tensorrt),
    'Model': (model.files, model.licence, model.load, model.parts),
    'Engine': (storage.cache, engine.openvino, engine.choice, engine.parity),
}
"""By group."""


def examine(
    facts: Facts,
    tell: Callable[[str, Finding], None],
    checks: Mapping[str, tuple[Check, ...]] = CHECKS,
) -> None:
    """Run every check; one that fails itself stops no other.

    Args:
        facts: What they look at.
        tell: Is told the group and each finding, as soon as it is known.
        checks: By group.
    """
    for group, of_group in checks.items():
        for check in of_group:
            try:
                for finding in check(facts):
                    tell(group, finding)
            except Exception as exc:  # whatever is broken, the others are still worth knowing
                name = f'{check.__module__.rpartition(".")[2]}.{check.__name__}'
                wrong = f'this check failed itself: {type(exc).__name__}: {exc}'
                tell(group, warning(name, 'not known', wrong, 'report it, with these lines'))
