"""Depth as a point cloud, for rviz and Foxglove: a node of its own, beside the encoder node."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import Image
from sensor_msgs.msg import PointCloud2
from sensor_msgs.msg import PointField
from theia_msgs.msg import EncoderInfo

from theia_ros.cloud import points_of
from theia_ros.conversions import packed
from theia_ros.errors import ParameterError
from theia_ros.nodes import qos
from theia_ros.nodes.process import run_node

_LOOK_S = 0.5
_FIELDS = ('x', 'y', 'z', 'intensity')
_LIVE = {'near_m': 0.3, 'far_m': 3.0, 'columns': 160}
"""Defaults of the parameters that may change while it runs."""


class DepthCloud(Node):
    """Publish `~/<camera>/points` of each camera, while somebody listens.

    Parameters: `encoder`, name of the encoder node, which tells its cameras; and, live, `near_m`
    and `far_m`, the distances of the nearest and the farthest thing of a picture, which relative
    depth does not tell, and `columns`, most points in a row.
    """

    def __init__(self) -> None:
        super().__init__('theia_cloud')
        self._encoder = self.declare_parameter('encoder', 'theia').value
        for name, default in _LIVE.items():
            self.declare_parameter(name, default)
        self.add_on_set_parameters_callback(self._check)
        if reason := self._check([]).reason:
            raise ParameterError(reason)
        self._cameras: dict[str, _Camera] = {}
        self.create_subscription(EncoderInfo, f'{self._encoder}/info', self._on_info, qos.INFO)
        self.create_timer(_LOOK_S, self._look)

    def _on_info(self, msg: EncoderInfo) -> None:
        for name in msg.cameras:
            if name not in self._cameras:
                self._cameras[name] = _Camera(self, f'{self._encoder}/{name}', name)

    def _look(self) -> None:
        for camera in self._cameras.values():
            camera.look()

    def _check(self, parameters: list[Parameter]) -> SetParametersResult:
        """Tell whether there is a cloud with these values and those of all other parameters."""
        changed = {p.name: p.value for p in parameters}
        near_m, far_m, columns = (
            changed.get(name, self.get_parameter(name).value) for name in _LIVE
        )
        if 0 < near_m < far_m < math.inf and columns > 0:
            return SetParametersResult(successful=True)
        reason = (
            f'near_m is {near_m}, far_m {far_m}, columns {columns}; '
            'use 0 < near_m < far_m, and columns above 0'
        )
        return SetParametersResult(successful=False, reason=reason)

    def cloud(self, depth: Image, info: CameraInfo) -> PointCloud2:
        """Return the cloud of a depth map.

        Args:
            depth: (H, W) 32FC1, 0 far to 1 near.
            info: Calibration of the same size.
        """
        near_m, far_m, columns = (self.get_parameter(name).value for name in _LIVE)
        values = np.frombuffer(depth.data, '<f4').reshape(depth.height, depth.width)
        points = points_of(values, np.reshape(info.k, (3, 3)), near_m, far_m, columns)
        height, width = points.shape[:2]
        return PointCloud2(
            header=depth.header,
            height=height,
            width=width,
            fields=[
                PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
                for i, name in enumerate(_FIELDS)
            ],
            point_step=4 * len(_FIELDS),
            row_step=4 * len(_FIELDS) * width,
            data=packed(points.reshape(-1).view(np.uint8)),
            is_dense=True,
        )


class _Camera:
    """One camera's depth, which is subscribed to only while its cloud is."""

    def __init__(self, node: DepthCloud, below: str, name: str) -> None:
        self._node, self._below = node, below
        self._points = node.create_publisher(
            PointCloud2, f'~/{name}/points', qos.stream('reliable', 1)
        )
        self._subscriptions: list[Any] = []
        self._info: CameraInfo | None = None

    def look(self) -> None:
        """Subscribe or unsubscribe, as the cloud's own subscribers do."""
        wanted = self._points.get_subscription_count() > 0
        if wanted and not self._subscriptions:
            self._subscriptions = [
                self._subscribe(Image, 'depth/image', self._on_depth),
                self._subscribe(CameraInfo, 'camera_info', self._on_info),
            ]
        elif not wanted:
            for subscription in self._subscriptions:
                self._node.destroy_subscription(subscription)
            self._subscriptions, self._info = [], None

    def _subscribe(self, kind: type, topic: str, callback: Callable[[Any], None]) -> Any:
        profile = qos.stream('best_effort', 1)
        return self._node.create_subscription(kind, f'{self._below}/{topic}', callback, profile)

    def _on_info(self, msg: CameraInfo) -> None:
        self._info = msg

    def _on_depth(self, msg: Image) -> None:
        info = self._info
        whole = msg.encoding == '32FC1' and len(msg.data) == 4 * msg.width * msg.height
        # Both are of the same map; one that is not calibrated has no focal length.
        fits = info and info.k[0] and (info.width, info.height) == (msg.width, msg.height)
        if whole and fits:
            self._points.publish(self._node.cloud(msg, info))


def main() -> int:
    """Run the node until it is asked to stop."""
    return run_node(DepthCloud)


if __name__ == '__main__':
    sys.exit(main())
