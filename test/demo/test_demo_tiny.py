"""The model that comes with the package is whole, and knows the table of the demo's clip."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from theia_ros import checkpoint
from theia_ros.catalog import MODELS
from theia_ros.cells import to_tokens
from theia_ros.datatypes import Frame
from theia_ros.distil.metrics import metric_for
from theia_ros.distil.statistics import normalise
from theia_ros.distil.truth import log_depth
from theia_ros.distil.truth import pick
from theia_ros.encoder import Encoder
from theia_ros.params import EncoderParams
from theia_ros.parts import read_statistics

NAME = 'demo-tiny'
FOLDER = Path(__file__).parents[2] / 'models' / NAME
DATA = Path(__file__).parents[2] / 'theia_ros' / 'demo' / 'data'
LARGEST_MB = 25
FRAMES = [0, 60, 120, 180, 240, 298]
"""Of the clip, all with ground truth."""


@pytest.fixture(scope='module')
def stored():
    return load_file(FOLDER / 'model.safetensors')


@pytest.fixture(scope='module')
def clip():
    """Some frames of the clip, and their truth: (F, 480, 640, 3), (F, 120, 160) twice."""
    cv2 = pytest.importorskip('cv2')
    capture = cv2.VideoCapture(str(DATA / 'panda_table.mp4'))
    frames = [capture.read()[1][..., ::-1] for _ in range(FRAMES[-1] + 1)]
    with np.load(DATA / 'panda_table_truth.npz', allow_pickle=False) as truth:
        rows = np.searchsorted(truth['frame_index'], FRAMES)
        assert truth['frame_index'][rows].tolist() == FRAMES
        depth_m, labels = truth['depth_mm'][rows] / 1000, truth['labels'][rows]
    return [Frame(np.ascontiguousarray(frames[i])) for i in FRAMES], depth_m, labels


@pytest.fixture
def encoder():
    with Encoder(EncoderParams(model=NAME, backend='torch', device='cpu')) as encoder:
        yield encoder


def test_the_file_is_small_finite_and_in_half_precision(stored):
    assert {array.dtype for array in stored.values()} == {np.dtype('float16')}
    assert all(np.isfinite(array).all() for array in stored.values())
    assert sum(f.stat().st_size for f in FOLDER.rglob('*') if f.is_file()) < LARGEST_MB * 1e6


def test_it_is_loaded_strictly_as_float32(stored):
    model = checkpoint.load(FOLDER)
    assert (model.config.student, model.config.teachers) == ('tiny', MODELS[NAME].teachers)
    loaded = checkpoint.tensors_of(model)
    assert loaded.keys() == stored.keys()
    for key, tensor in loaded.items():
        assert tensor.dtype == torch.float32
        assert np.array_equal(tensor.numpy(), stored[key].astype(np.float32)), key


def test_it_says_what_it_is():
    config = json.loads((FOLDER / 'config.json').read_text())
    described = json.loads((DATA / 'panda_table.json').read_text())
    assert config['classes'] == described['classes']
    assert config['license'] == 'Apache-2.0'
    card = (FOLDER / 'README.md').read_text()
    assert 'no Theia' in config['description']
    assert 'It is not Theia' in card
    assert not re.search('theia', str(config['architectures']), re.IGNORECASE)


def test_the_metres_and_classes_of_the_clip_are_right(clip, encoder):
    """Of six frames, 64 x 64 cells each: measured 0.017, 0.990 and 0.540.

    The same model gets 0.07 and 0.37 for frames in another order, 0.14 and 0.20 for pictures that
    are mirrored; a model without training 0.7 and 0.01.
    """
    frames, depth_m, labels = clip
    tensors = encoder.infer(frames, ['depth', 'classes']).tensors
    statistics = read_statistics(FOLDER, 'depth')
    depth, classes = metric_for('depth', statistics), metric_for('classes', None)
    metres = torch.from_numpy(np.stack([pick(d) for d in depth_m]).astype(np.float32))
    depth.add(tensors['depth'], normalise(log_depth(metres), statistics))
    classes.add(tensors['classes'], to_tokens(torch.from_numpy(np.stack([*map(pick, labels)]))))
    figures = {**depth.figures(), **classes.figures()}
    assert figures['abs_rel'] < 0.03
    assert figures['delta_1.25'] > 0.97
    assert figures['miou'] > 0.45


def test_the_maps_of_the_clip_are_right(clip, encoder):
    """As the node publishes them, at the pixels whose truth is known."""
    frames, depth_m, labels = clip
    encoded = encoder.encode(frames[:1], ['depth/image', 'segmentation/labels', 'dinov2/image'])[0]
    maps = {name: m.values[2::4, 2::4] for name, m in encoded.maps.items()}
    assert maps['dinov2/image'].std() > 20
    near = maps['depth/image']
    # Relative, but in the order of the truth, which it follows evenly: measured 0.99.
    assert np.corrcoef(near.ravel(), 1 / depth_m[0].ravel())[0, 1] > 0.96
    middle = {name: np.median(near[labels[0] == i]) for i, name in enumerate(_classes())}
    assert middle['gripper'] > middle['background']
    assert middle['table'] > middle['background']
    assert (maps['segmentation/labels'] == labels[0]).mean() > 0.9
    for name in ('background', 'table', 'robot', 'gripper', 'tray'):
        number = _classes().index(name)
        there, found = labels[0] == number, maps['segmentation/labels'] == number
        assert (there & found).sum() / (there | found).sum() > 0.5, name


def _classes():
    return json.loads((FOLDER / 'config.json').read_text())['classes']
