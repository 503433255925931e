"""A drive that a policy can be trained on, and the training of it, as a user does it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from helpers import bags

from theia_ros.cli import main

EXAMPLES = Path(__file__).parents[2] / 'examples'
MODEL = 'theia-tiny-patch16-224-cddsv'
"""Of the fake engine, whose tokens are the colours of their patches."""
LEVELS = tuple(int(level) for level in np.random.default_rng(0).permutation(256)[:120])
SEEING = ('--joints', 'elbow', '--steps', '2')
PERIOD_NS = 100_000_000


def driven(levels: Sequence[int] = LEVELS) -> list[bags.Message]:
    """Return a drive: the brighter the picture the faster, and it turns by the elbow's angle.

    Each command is given 30 ms after its picture was taken and received.
    """
    types = bags.STORE.types
    vector, joint_state = types['geometry_msgs/msg/Vector3'], types['sensor_msgs/msg/JointState']
    messages: list[bags.Message] = []
    for i, level in enumerate(levels):
        at, elbow = (i + 1) * PERIOD_NS, float(np.sin(i))
        stamp_ns = bags.START_NS + at
        state = joint_state(
            header=bags.header(stamp_ns - 5_000_000),
            name=['wrist', 'elbow'],
            position=np.array([9.0, elbow]),
            velocity=np.zeros(0),
            effort=np.zeros(0),
        )
        command = types['geometry_msgs/msg/Twist'](
            linear=vector(x=level / 255, y=0.0, z=0.0), angular=vector(x=0.0, y=0.0, z=elbow)
        )
        picture = bags.image(np.full((48, 64, 3), level, np.uint8), stamp_ns)
        messages += [
            ('/joint_states', 'sensor_msgs/msg/JointState', at, bags.raw(state)),
            ('/camera/image_raw', bags.IMAGE, at, picture),
            ('/cmd_vel', 'geometry_msgs/msg/Twist', at + 30_000_000, bags.raw(command)),
        ]
    return messages


def encoded(folder: Path, levels: Sequence[int] = LEVELS, storage: str = 'mcap') -> Path:
    """Return a bag of the drive with features, as `theia-ros bag` makes it."""
    bag = bags.write(folder / 'drive', driven(levels), storage)
    given = ['--cameras', 'camera', '--model', MODEL, '--backend', 'fake']
    assert main(['bag', str(bag), str(folder / 'features'), *given]) == 0
    return folder / 'features'


def train(bag: Path, policy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run train_policy.py."""
    command = [sys.executable, EXAMPLES / 'train_policy.py', bag, policy]
    given = ['--cameras', 'camera', '--command', '/cmd_vel', *arguments]
    return subprocess.run([*command, *given], capture_output=True, text=True)


def make_policy(folder: Path) -> Path:
    """Return a policy that was trained on the drive, and is good at it."""
    done = train(encoded(folder), folder / 'policy.safetensors', *SEEING)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('120 examples, error '), done.stdout
    unseen = float(done.stdout.split()[-5])
    assert unseen < 0.1, done.stdout
    return folder / 'policy.safetensors'


def load_policy(path: Path):
    """Return the head and the setup of a policy, as policy_head.py reads them."""
    spec = importlib.util.spec_from_file_location('policy_head', EXAMPLES / 'policy_head.py')
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:  # its dataclasses look themselves up by name
        patch.setitem(sys.modules, 'policy_head', module)
        spec.loader.exec_module(module)
        return module.load(path)
