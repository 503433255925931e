"""Run a policy of train_policy.py: commands at a fixed rate, and a stop whenever it cannot see.

python examples/policy_node.py --ros-args -p policy:=policy.safetensors
"""

from __future__ import annotations

import sys
from pathlib import Path

import policy_head
import torch
from geometry_msgs.msg import Twist
from rclpy.clock import Clock
from rclpy.clock import ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from sensor_msgs.msg import JointState

from theia_ros.client import FeatureSubscriber
from theia_ros.client import joint_positions
from theia_ros.errors import FeatureError
from theia_ros.nodes.process import run_node


class PolicyNode(Node):
    def __init__(self) -> None:
        super().__init__('policy')
        path = self.declare_parameter('policy', '').value
        encoder = self.declare_parameter('encoder', '/theia').value
        joint_states = self.declare_parameter('joint_states', '/joint_states').value
        rate_hz = self.declare_parameter('rate_hz', 10.0).value
        self.head, self.setup = policy_head.load(Path(path))
        self.features = FeatureSubscriber(
            self.setup.cameras,
            node=self,
            encoder=encoder,
            tensor=self.setup.tensor,
            window=self.setup.window,
            trained_with=self.setup.origin,
            max_age_s=self.setup.max_age_s,
        )
        if self.setup.joints:
            read = joint_positions(*self.setup.joints)
            self.features.follow(joint_states, JointState, read, name='joints')
        self.commands = self.create_publisher(Twist, 'cmd_vel', 1)
        self.stopped = True
        # By the steady clock: the robot must stop even if simulated time stands still.
        self.create_timer(1 / rate_hz, self.act, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def act(self) -> None:
        try:
            observation = self.features.newest()
        except FeatureError as reason:
            self.stopped = True
            self.get_logger().warning(f'stopped: {reason}', throttle_duration_sec=2.0)
            self.commands.publish(Twist())
            return
        if self.stopped:
            self.stopped = False
            self.get_logger().info(f'acting on features that are {observation.age_s:.3f} s old')
        with torch.inference_mode():
            cells, joints = self.setup.inputs(observation)
            linear, angular = self.head(cells[None], joints[None])[0].tolist()
        command = Twist()
        command.linear.x, command.angular.z = linear, angular
        self.commands.publish(command)

    def destroy_node(self) -> None:
        if hasattr(self, 'commands'):
            self.commands.publish(Twist())  # let it not go on by itself
            self.commands.wait_for_all_acked(Duration(seconds=0.5))  # nor lose this on the way
        super().destroy_node()


if __name__ == '__main__':
    torch.set_num_threads(1)
    sys.exit(run_node(PolicyNode))
