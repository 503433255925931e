"""What a process of ours does when rclpy makes another error of a signal."""

from __future__ import annotations

import pytest
from helpers.process import Process

pytestmark = pytest.mark.needs_ros

NODE = """\
import os, signal, sys
from rclpy.node import Node
from std_msgs.msg import String
from theia_ros.nodes.process import run_node

class Listener(Node):
    def __init__(self):
        super().__init__('listener')
        self.create_subscription(String, 'words', print, 10)
        self._words, self._word = self.create_publisher(String, 'words', 10), String(data='hello')
        self.create_timer(0.05, lambda: self._words.publish(self._word))
        String.__init__ = interrupted  # by rclpy, for the message that it takes

def interrupted(self):
    {body}

sys.exit(run_node(Listener))
"""


@pytest.mark.parametrize('number', ['SIGINT', 'SIGTERM'])
def test_signal_while_a_message_is_made_is_a_quiet_end(tmp_path, number) -> None:
    code = NODE.format(body=f'os.kill(os.getpid(), signal.{number})')
    with Process(tmp_path, 'listener', '-c', code) as process:
        assert (process.wait(), process.said) == (0, '')


def test_error_of_that_kind_without_a_signal_is_not_hidden(tmp_path) -> None:
    code = NODE.format(body='raise ValueError')
    with Process(tmp_path, 'listener', '-c', code) as process:
        assert process.wait() == 1
        assert 'RuntimeError: Unable to convert' in process.said
