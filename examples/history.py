"""Histories of two cameras and a joint, in a script that has no node; see docs/policy.md."""

from pathlib import Path

from sensor_msgs.msg import JointState

from theia_ros.client import FeatureSubscriber
from theia_ros.client import joint_positions
from theia_ros.client import Origin
from theia_ros.client import Window

origin = Path('origin.json')  # what the features are made with: kept with the policy
window = Window(steps=4, period_s=0.1, gaps='mask')

with FeatureSubscriber(
    ['front', 'wrist'],
    window=window,
    trained_with=Origin.from_json(origin.read_text()) if origin.is_file() else None,
) as features:
    features.follow('/joint_states', JointState, joint_positions('elbow'), name='joints')
    for _ in range(5):
        observation = features.wait(timeout_s=20.0)
        maps = observation.stack_maps('front')  # (4, channels, rows, columns)
        joints = observation.stack('joints')  # (4, 1)
        print(maps.shape, joints[:, 0], observation.valid('wrist'), f'{observation.age_s:.3f} s')
    while not features.origin.backend:  # only the digest is known until the encoder has told
        features.wait(timeout_s=20.0)
    origin.write_text(features.origin.to_json())
