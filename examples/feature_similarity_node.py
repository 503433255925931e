"""Show where the camera sees what it sees at one pixel: similarity of features, as a picture.

    python examples/feature_similarity_node.py --ros-args -p camera:=front -p 'pixel:=[320, 240]'

Another pixel is chosen by a message on ~/point: x and y of a PointStamped, in pixels. ~/image is
the cosine of the angle between features, 32FC1, -1 to 1, in the camera's pixels and with its
header; 0 where the grid does not reach.
"""

from __future__ import annotations

import sys

import numpy as np
from geometry_msgs.msg import PointStamped
from rclpy.node import Node
from sensor_msgs.msg import Image

from theia_ros.client import FeatureSubscriber
from theia_ros.client import FeatureView
from theia_ros.errors import FeatureError
from theia_ros.nodes.process import run_node


def similarity(view: FeatureView, x_px: float, y_px: float) -> np.ndarray:
    """Return the cosine of each token to that at a pixel, on the grid, (h, w) float32."""
    tokens = view.float32().tokens
    unit = tokens / np.maximum(np.linalg.norm(tokens, axis=1, keepdims=True), 1e-12)
    return (unit @ unit[view.token_at(x_px, y_px)]).reshape(view.grid_hw)


def in_camera(grid: np.ndarray, view: FeatureView) -> np.ndarray:
    """Return a grid in the camera's pixels, (H, W); each cell covers its part of the region."""
    region = view.region
    rows = np.arange(region.height_px) * grid.shape[0] // region.height_px
    columns = np.arange(region.width_px) * grid.shape[1] // region.width_px
    # The grid lies in the middle of the picture.
    border = (region.y_px, region.y_px), (region.x_px, region.x_px)
    return np.pad(grid[rows][:, columns], border)


class FeatureSimilarityNode(Node):
    def __init__(self) -> None:
        super().__init__('similarity')
        self.camera = self.declare_parameter('camera', 'camera').value
        tensor = self.declare_parameter('tensor', 'theia').value
        self.pixel = tuple(self.declare_parameter('pixel', [0, 0]).value)
        self.features = FeatureSubscriber(self.camera, node=self, tensor=tensor)
        self.image = self.create_publisher(Image, '~/image', 1)
        self.create_subscription(PointStamped, '~/point', self.choose, 1)
        self.create_timer(0.1, self.show)
        self.shown_ns = None

    def choose(self, msg: PointStamped) -> None:
        self.pixel = msg.point.x, msg.point.y
        self.shown_ns = None

    def show(self) -> None:
        try:
            view = self.features.newest()[self.camera]
            if view.stamp_ns == self.shown_ns:
                return
            picture = in_camera(similarity(view, *self.pixel), view)
        except FeatureError as reason:
            self.get_logger().warning(str(reason), throttle_duration_sec=2.0)
            return
        self.shown_ns = view.stamp_ns
        height, width = picture.shape
        msg = Image(height=height, width=width, encoding='32FC1', step=4 * width)
        msg.header.frame_id = view.frame_id
        msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(view.stamp_ns, 1_000_000_000)
        msg.data.frombytes(picture.astype('<f4').tobytes())
        self.image.publish(msg)


if __name__ == '__main__':
    sys.exit(run_node(FeatureSimilarityNode))
