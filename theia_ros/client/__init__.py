"""The policy's side: features received, checked, and aligned with whatever else a policy needs."""

from __future__ import annotations

from typing import Any
from typing import TYPE_CHECKING

from theia_ros.client.inbox import Inbox
from theia_ros.client.observations import Observation
from theia_ros.client.observations import Window
from theia_ros.client.origin import Origin
from theia_ros.client.readers import joint_positions
from theia_ros.client.tensors import FeatureView
from theia_ros.client.tensors import view_of

if TYPE_CHECKING:
    from theia_ros.client.subscriber import FeatureSubscriber

__all__ = [
    'FeatureSubscriber',
    'FeatureView',
    'Inbox',
    'Observation',
    'Origin',
    'Window',
    'joint_positions',
    'view_of',
]


def __getattr__(name: str) -> Any:
    # Only this one needs ROS: training from a bag does not.
    if name == 'FeatureSubscriber':
        from theia_ros.client.subscriber import FeatureSubscriber

        return FeatureSubscriber
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
