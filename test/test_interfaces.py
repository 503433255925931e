"""The messages are promises: `msg/interfaces.lock` holds the hash of each."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCK = ROOT / 'msg' / 'interfaces.lock'


def locked_hashes():
    lines = LOCK.read_text().splitlines()
    return dict(line.split() for line in lines if line and not line.startswith('#'))


@pytest.fixture
def built_hashes():
    from ament_index_python import get_package_share_directory

    folder = Path(get_package_share_directory('theia_msgs')) / 'msg'
    hashes = {}
    for path in sorted(folder.glob('*.json')):
        name = f'theia_msgs/msg/{path.stem}'
        types = json.loads(path.read_text())['type_hashes']
        hashes[name] = next(t['hash_string'] for t in types if t['type_name'] == name)
    if not hashes:
        pytest.skip('this ROS 2 has no type hashes (they came with Iron)')
    return hashes


def test_every_message_is_locked():
    names = {f'theia_msgs/msg/{path.stem}' for path in ROOT.glob('msg/*.msg')}

    assert names == set(locked_hashes())


@pytest.mark.needs_ros
def test_built_messages_equal_the_lock(built_hashes):
    locked = locked_hashes()
    differing = [
        f'{name} {value}' for name, value in built_hashes.items() if locked.get(name) != value
    ]

    assert not differing, (
        'messages differ from msg/interfaces.lock: recorded bags and other computers do not fit '
        'them. If that is meant, say so in CHANGELOG.rst and put these lines into '
        f'{LOCK}:\n' + '\n'.join(differing)
    )


@pytest.mark.needs_ros
def test_constants_keep_their_values():
    # The type hash does not cover constants.
    from theia_msgs.msg import FeatureTensor as Tensor

    assert (Tensor.FLOAT32, Tensor.FLOAT16, Tensor.BFLOAT16) == (1, 2, 3)
