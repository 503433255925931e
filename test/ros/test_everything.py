"""An official-shaped model with all its parts, served by the node: every output there is."""

from __future__ import annotations

import array

import numpy as np
import pytest
from helpers import synthetic
from helpers.ros_peer import image
from helpers.ros_peer import numbers
from sensor_msgs.msg import Image
from theia_msgs.msg import FeatureTensor

from theia_ros.datatypes import Frame
from theia_ros.encoder import Encoder
from theia_ros.params import EncoderParams

pytestmark = pytest.mark.needs_ros

SCENE = synthetic.golden_rule.image('scene_480x640')
TYPES = {'rgb8': (np.uint8, 3), '32FC1': (np.dtype('<f4'), 1), '16UC1': (np.dtype('<u2'), 1)}
MAPS = {
    'dinov2/image': 'rgb8',
    'depth/image': '32FC1',
    'depth/image_color': 'rgb8',
    'segmentation/labels': '16UC1',
    'segmentation/image': 'rgb8',
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory):
    folder = synthetic.write_model(tmp_path_factory.mktemp('whole'))
    synthetic.write_statistics(folder)
    synthetic.write_decoder_parts(folder)
    return folder


def pixels(msg: Image) -> np.ndarray:
    kind, channels = TYPES[msg.encoding]
    values = np.frombuffer(msg.data, kind).reshape(msg.height, msg.width, channels)
    return values if channels > 1 else values[..., 0]


def test_every_output_equals_the_published_code(peer, start, folder):
    node = start({'model': folder, 'backend': 'torch', 'device': 'cpu', 'autostart': True})
    prefix = '/theia/camera/'
    teachers = synthetic.ALL_TEACHERS
    features = {t: peer.collect(FeatureTensor, f'{prefix}{t}/features') for t in teachers}
    features['theia'] = peer.collect(FeatureTensor, f'{prefix}features')
    maps = {name: peer.collect(Image, f'{prefix}{name}') for name in MAPS}
    camera = peer.publisher(Image, '/camera/image_raw', node)
    peer.wait_for_publisher(f'{prefix}segmentation/image', node)
    peer.spin(1.0)
    sent = image(sec=7, nanosec=9, frame_id='lens', size_hw=(480, 640))
    sent.data = array.array('B', SCENE.tobytes())
    camera.publish(sent)
    everything = [*features.values(), *maps.values()]
    peer.until(lambda: all(everything), 'every output', node)

    tokens = synthetic.goldens('tiny_encoder')['tokens/scene_480x640'][1:]
    np.testing.assert_allclose(numbers(features['theia'][0]), tokens, rtol=0, atol=1e-5)
    heads = synthetic.goldens('tiny_heads')
    for name in teachers:
        rows = heads[f'scene_480x640/{synthetic.KEYS[name]}/rows']
        np.testing.assert_allclose(numbers(features[name][0])[::16], rows, rtol=0, atol=5e-5)
    assert all(received[0].header == sent.header for received in everything)
    assert {name: received[0].encoding for name, received in maps.items()} == MAPS

    decoded = {name: pixels(received[0]) for name, received in maps.items()}
    goldens = synthetic.goldens('decoders')
    # Cell i of 16 is 35 by 26.25 pixels of the middle 560 by 420; its centre has its own colour.
    y, x = (30 + 26.25 * (np.arange(16) + 0.5)).astype(int), 40 + 35 * np.arange(16) + 17
    view = decoded['dinov2/image'][y][:, x] / 255
    np.testing.assert_allclose(view, goldens['pca/rgb16'], rtol=0, atol=0.02)
    # Rows 0, 4, 8 ... of 224, and all columns: the pixel of ours that shows the same cell of 64.
    y, x = np.arange(0, 224, 4) * 64 // 224, np.arange(224) * 64 // 224
    depth = decoded['depth/image'][-(-y * 480 // 64)][:, -(-x * 640 // 64)]
    np.testing.assert_allclose(depth, goldens['depth/map_rows_stride4'], rtol=0, atol=5e-5)

    with Encoder(EncoderParams(model=str(folder), backend='torch', device='cpu')) as encoder:
        offline = encoder.encode([Frame(SCENE)], list(MAPS))[0].maps
    for name in MAPS:
        np.testing.assert_array_equal(decoded[name], offline[name].values, err_msg=name)
