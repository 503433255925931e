"""Features of a bag equal those of the live node, bit for bit: the bag is played to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import bags
from helpers import synthetic
from helpers.ros_peer import LATCHED
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image
from theia_msgs.msg import EncoderInfo
from theia_msgs.msg import FeatureTensor

from theia_ros.cli import main

pytestmark = pytest.mark.needs_ros

TENSORS = ('theia', 'dinov2', 'clip')
TOPICS = {'front': '/front/image_raw', 'wrist': '/wrist/image_raw/compressed'}
KINDS = {'front': Image, 'wrist': CompressedImage}


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Its name is part of the names of its engines, which tests of this run share.
    return synthetic.write_model(tmp_path_factory.mktemp('model') / 'tiny')


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Two cameras with pictures of several sizes, encodings and layouts."""
    messages = []
    for i, size_hw in enumerate([(48, 64), (240, 320), (224, 224), (481, 639)]):
        rgb, at = bags.pixels(i, size_hw), i * 100_000_000
        if i % 2:
            changes = {'encoding': 'bgr8', 'data': rgb[..., ::-1].reshape(-1)}
        else:
            changes = {}
        messages.append(('/front/image_raw', bags.IMAGE, at, bags.image(rgb, at, 'f', **changes)))
        jpeg = bags.jpeg(bags.pixels(50 + i, size_hw), at + 7, 'wrist')
        messages.append(('/wrist/image_raw/compressed', bags.COMPRESSED, at + 5, jpeg))
    return bags.write(tmp_path / 'in', messages)


def started(start, peer, model: Path, **changes):
    """Start a node for both cameras, and return it with its inlets and what comes out."""
    node = start(
        {
            'autostart': True,
            'model': str(model),
            'cameras': list(TOPICS),
            'image_topics': list(TOPICS.values()),
            'image_reliability': 'reliable',
            'image_depth': 100,
            'output_depth': 100,
            **changes,
        }
    )
    infos = peer.collect(EncoderInfo, '/theia/info', LATCHED)
    below = ('features', *(f'{tensor}/features' for tensor in TENSORS[1:]))
    topics = [f'/theia/{camera}/{name}' for camera in TOPICS for name in below]
    outputs = {topic: peer.collect(FeatureTensor, topic) for topic in topics}
    peer.until(lambda: infos, 'provenance', node)
    inlets = {camera: peer.publisher(KINDS[camera], TOPICS[camera], node) for camera in TOPICS}
    for topic in outputs:
        peer.wait_for_publisher(topic, node)
    return node, infos, inlets, outputs


def settle(peer, node, outputs, send) -> None:
    """Send pictures until all outputs come, and forget those."""

    def all_came() -> bool:
        send()
        peer.spin(0.2)
        return all(outputs.values())

    peer.until(all_came, 'all outputs', node)
    peer.spin(1.0)
    for found in outputs.values():
        found.clear()


def made(out: Path, topic: str, kind: type = FeatureTensor) -> list:
    """Return the messages of a topic as ROS reads them.

    Their bytes cannot be compared: ROS leaves those between two fields as they were in memory.
    """
    return [deserialize_message(d, kind) for name, _, _, d in bags.read(out) if name == topic]


@pytest.mark.parametrize(
    ('backend', 'dtype', 'reduction'),
    [
        ('torch', 'float32', 'none'),
        ('openvino', 'float32', 'none'),
        ('auto', 'float16', 'identity'),
    ],
)
def test_one_picture_at_a_time(
    backend, dtype, reduction, start, peer, model: Path, recording: Path, tmp_path: Path, capsys
) -> None:
    if backend == 'openvino':
        pytest.importorskip('openvino')
    out = tmp_path / 'out'
    arguments = ['--backend', backend, '--dtype', dtype, '--reduce', reduction]
    arguments += ['--model', str(model), '--tensors', ','.join(TENSORS)]
    assert main(['bag', str(recording), str(out), *arguments]) == 0
    node, infos, inlets, outputs = started(
        start, peer, model, backend=backend, feature_dtype=dtype, reduction=reduction
    )
    pictures = [(t, data) for t, _, _, data in bags.read(recording)]
    cameras = {topic: camera for camera, topic in TOPICS.items()}
    settle(peer, node, outputs, lambda: [inlets[cameras[t]].publish(d) for t, d in pictures[:2]])

    for i, (topic, data) in enumerate(pictures):
        camera = cameras[topic]
        inlets[camera].publish(data)  # the bytes of the bag, as they are
        below = [t for t in outputs if t.startswith(f'/theia/{camera}/')]
        peer.until(
            lambda i=i, below=below: all(len(outputs[t]) == i // 2 + 1 for t in below),
            f'features of picture {i}',
            node,
        )

    for topic, found in outputs.items():
        assert len(found) == 4, topic
        assert found == made(out, topic), topic
    (offline,) = made(out, '/theia/info', EncoderInfo)
    live = infos[0]
    live.stamp = offline.stamp  # when each was configured
    assert live == offline
    assert live.digest in capsys.readouterr().out


@pytest.mark.parametrize('backend', ['torch', 'openvino'])
def test_two_pictures_at_a_time(
    backend, start, peer, model: Path, recording: Path, tmp_path: Path
) -> None:
    if backend == 'openvino':
        pytest.importorskip('openvino')
    out = tmp_path / 'out'
    arguments = ['--backend', backend, '--model', str(model), '--tensors', ','.join(TENSORS)]
    assert main(['bag', str(recording), str(out), *arguments, '--batch', '2']) == 0
    # Pictures of one instant make one batch.
    node, _, inlets, outputs = started(start, peer, model, backend=backend, synchronize=True)
    pairs = [data for *_, data in bags.read(recording)]

    def send(i: int) -> None:
        for camera, data in zip(TOPICS, pairs[2 * i : 2 * i + 2], strict=True):
            inlets[camera].publish(data)

    settle(peer, node, outputs, lambda: send(0))
    for i in range(4):
        send(i)
        peer.until(
            lambda i=i: all(len(found) == i + 1 for found in outputs.values()),
            f'features of instant {i}',
            node,
        )

    for topic, found in outputs.items():
        assert found == made(out, topic), topic
