"""Print the features of one camera as they arrive: all that a policy node needs."""

import numpy as np
import rclpy
from rclpy.node import Node
from theia_msgs.msg import FeatureTensor

NUMPY_TYPES = {FeatureTensor.FLOAT32: '<f4', FeatureTensor.FLOAT16: '<f2'}


class Policy(Node):
    def __init__(self) -> None:
        super().__init__('policy')
        topic = self.declare_parameter('topic', '/theia/camera/features').value
        self.create_subscription(FeatureTensor, topic, self.act, 1)

    def act(self, msg: FeatureTensor) -> None:
        tokens = np.frombuffer(msg.data, NUMPY_TYPES[msg.dtype]).reshape(msg.shape)
        age = self.get_clock().now() - rclpy.time.Time.from_msg(msg.header.stamp)
        self.get_logger().info(
            f'{msg.name} {tokens.shape}, norm {np.linalg.norm(tokens):.1f}, '
            f'{age.nanoseconds / 1e6:.0f} ms after capture'
        )


if __name__ == '__main__':
    rclpy.init()
    rclpy.spin(Policy())
