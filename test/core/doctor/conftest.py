"""What tests of the doctor share: facts without a machine behind them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from theia_ros.doctor.apart import Outcome
from theia_ros.doctor.facts import Facts
from theia_ros.doctor.facts import Request

TORCH = {
    'version': '2.13.0+cpu',
    'cuda': '',
    'devices': [],
    'compiled_for': [],
    'warnings': [],
    'driver': '',
    'cpu': 'a CPU',
    'tensorrt': {},
    'misfit': '',
    'oldest_driver': 0,
}
GPU = {
    'name': 'NVIDIA GeForce RTX 4090',
    'failure': '',
    'capability': [8, 9],
    'free_gb': 20.0,
    'total_gb': 25.4,
}
ROS = {'file': '/opt/ros/jazzy/rclpy/__init__.py', 'rmw': 'rmw_fastrtps_cpp'}


def failed(failure: str, said: str = '') -> Outcome:
    return Outcome(failure=failure, said=said)


def with_gpu(**changes: Any) -> dict[str, Any]:
    """What torch would tell on a desktop that is as it should be."""
    return {
        **TORCH,
        'version': '2.13.0',
        'cuda': '13.0',
        'devices': [GPU],
        'compiled_for': ['sm_80', 'sm_89', 'sm_90'],
        'driver': '580.65.06',
        'tensorrt': {'torch-tensorrt': '2.13.0', 'tensorrt-cu13': '11.0.0'},
        'oldest_driver': 580,
        **changes,
    }


@pytest.fixture
def facts(tmp_path) -> Callable[..., Facts]:
    """Return a function that makes facts: answers of probes by name, and what else is told."""

    def make(answers: dict[str, Any] | None = None, **told: Any) -> Facts:
        known: dict[str, Any] = {'torch': TORCH, 'ros': ROS, **(answers or {})}

        def ask(probe: str, arguments: Any = None, **_: Any) -> Outcome:
            answer = known[probe]
            return answer if isinstance(answer, Outcome) else Outcome(answer=answer)

        given = told.pop('given', {})
        request = told.pop('request', None) or Request(given=given)
        told = {'environ': {}, 'ros_folder': tmp_path / 'no_ros', 'which': lambda _: None, **told}
        return Facts(request, ask=ask, **told)

    return make
