"""A camera for the benchmark: numbered pictures at the rate that it is told."""

from __future__ import annotations

import sys
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from rclpy.qos import qos_profile_sensor_data
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Float64
from std_msgs.msg import Header

from theia_ros.bench.pictures import make_frames
from theia_ros.conversions import packed
from theia_ros.nodes.process import run_node

RATE_QOS = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def make() -> Any:
    """Make the node; it publishes on `~/image_raw` at the rate told on the topic `rate_hz`.

    The number of each picture is its frame_id, which features carry unchanged, so that whoever
    receives them knows what is missing. 0 Hz is silence.
    """
    node = Node('camera')
    width_px = node.declare_parameter('width_px', 640).value
    height_px = node.declare_parameter('height_px', 480).value
    images = node.create_publisher(Image, '~/image_raw', qos_profile_sensor_data)
    # Made once: a camera's driver is not what is measured.
    (frame,) = make_frames(1, (height_px, width_px))
    message = Image(
        height=height_px,
        width=width_px,
        encoding='rgb8',
        step=3 * width_px,
        data=packed(frame.rgb),
    )
    sent = 0
    timers: list[Any] = []

    def publish() -> None:
        nonlocal sent
        stamp = node.get_clock().now().to_msg()
        message.header = Header(stamp=stamp, frame_id=str(sent))
        images.publish(message)
        sent += 1

    def set_rate(rate: Float64) -> None:
        while timers:
            node.destroy_timer(timers.pop())
        if rate.data > 0:
            timers.append(node.create_timer(1 / rate.data, publish))

    node.create_subscription(Float64, 'rate_hz', set_rate, RATE_QOS)
    return node


if __name__ == '__main__':
    sys.exit(run_node(make))
