"""The smallest policy: features in, a command out ten times a second, a stop without features."""

import rclpy
from geometry_msgs.msg import Twist
from rclpy.node import Node

from theia_ros.client import FeatureSubscriber
from theia_ros.errors import FeatureError


class Policy(Node):
    def __init__(self) -> None:
        super().__init__('policy')
        self.features = FeatureSubscriber('camera', node=self)
        self.commands = self.create_publisher(Twist, 'cmd_vel', 1)
        self.create_timer(0.1, self.act)

    def act(self) -> None:
        command = Twist()  # all zero: the stop
        try:
            observation = self.features.newest()
            tokens = observation['camera'].tokens  # (196, 384), a view of the message
            command.linear.x = 0.1 * float(abs(tokens).mean())  # your policy here
        except FeatureError as reason:  # none came, or they are too old
            self.get_logger().warning(f'stopped: {reason}', throttle_duration_sec=1.0)
        self.commands.publish(command)


if __name__ == '__main__':
    rclpy.init()
    rclpy.spin(Policy())
