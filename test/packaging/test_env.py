"""With `scripts/env.sh`, camera images reach another process; Fast DDS alone loses them."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COUNT = 30

pytestmark = [pytest.mark.needs_ros, pytest.mark.packaging]

COMMON = f"""
import time
import rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
COUNT = {COUNT}
rclpy.init()
node = rclpy.create_node('images')
end = time.monotonic() + 20
"""

PUBLISH = """
publisher = node.create_publisher(Image, 'image', qos_profile_sensor_data)
image = Image(height=480, width=640, step=1920, encoding='rgb8', data=bytes(480 * 1920))
while not publisher.get_subscription_count() and time.monotonic() < end:
    time.sleep(0.05)
time.sleep(0.5)
for _ in range(COUNT):
    publisher.publish(image)
    time.sleep(1 / 30)
time.sleep(0.5)
"""

SUBSCRIBE = """
received = []
node.create_subscription(Image, 'image', received.append, qos_profile_sensor_data)
while len(received) < COUNT and time.monotonic() < end:
    rclpy.spin_once(node, timeout_sec=0.1)
    if received and node.count_publishers('image') == 0:
        break
print(len(received))
"""


def start(code):
    # The settings are to come from the script alone.
    ours = ('FASTDDS_', 'FASTRTPS_', 'ROS_AUTOMATIC', 'ROS_LOCALHOST', 'RMW_')
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return subprocess.Popen(
        ['bash', '-c', 'source scripts/env.sh && exec python -c "$0"', COMMON + code],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_best_effort_images_arrive():
    if not (ROOT / '.venv' / 'setup' / 'done').exists():
        pytest.skip('no finished .venv/; scripts/test makes it')
    with start(SUBSCRIBE) as subscriber, start(PUBLISH) as publisher:
        output, _ = subscriber.communicate(timeout=60)
        publisher.communicate(timeout=60)

    assert subscriber.returncode == publisher.returncode == 0
    # One or two may be late on a busy computer; without the settings nearly all are lost.
    assert int(output) >= 0.8 * COUNT
