"""The table of decoders, and everything that a whole model gives through the encoder."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import synthetic

from theia_ros.datatypes import Frame
from theia_ros.decoders import depth
from theia_ros.decoders import open_decoders
from theia_ros.decoders.segmentation import paint
from theia_ros.decoders.segmentation import SegmentationDecoder
from theia_ros.encoder import Encoder
from theia_ros.geometry import stretch
from theia_ros.model import ModelConfig
from theia_ros.params import EncoderParams
from theia_ros.parts import read_statistics

ALL_MAPS = {
    'dinov2/image',
    'depth/image',
    'depth/image_color',
    'segmentation/labels',
    'segmentation/image',
}
GOLDEN = synthetic.goldens('decoders')


def maps_of(folder: Path, teachers=synthetic.ALL_TEACHERS) -> set[str]:
    params = EncoderParams(model=str(folder))
    decoders = open_decoders(ModelConfig('tiny', tuple(teachers)), params)
    return {name for decoder in decoders for name in decoder.maps}


@pytest.mark.parametrize(
    ('missing', 'maps'),
    [
        pytest.param('nothing', ALL_MAPS, id='whole'),
        pytest.param('statistics', {'dinov2/image'}, id='statistics'),
        pytest.param('decoders', {'dinov2/image'}, id='decoders'),
        pytest.param(
            'decoders/sam.safetensors',
            {'dinov2/image', 'depth/image', 'depth/image_color'},
            id='sam',
        ),
        pytest.param(
            'statistics/imagenet_var_LiheYoung_depth-anything-large-hf.npy',
            {'dinov2/image', 'segmentation/labels', 'segmentation/image'},
            id='deviation-of-depth',
        ),
    ],
)
def test_a_map_is_offered_when_all_its_parts_are_there(whole_folder, tmp_path, missing, maps):
    folder = Path(shutil.copytree(whole_folder, tmp_path / 'model'))
    path = folder / missing
    if path.is_dir():
        shutil.rmtree(path)
    elif path.is_file():
        path.unlink()
    assert maps_of(folder) == maps


def test_a_map_is_offered_when_the_model_has_the_head(whole_folder):
    assert maps_of(whole_folder, ('vit', 'dinov2', 'clip')) == {'dinov2/image'}
    assert maps_of(whole_folder, ()) == {'dinov2/image'}  # of the backbone's own tokens


def test_heads_that_learned_from_a_simulator_give_maps_too(tmp_path):
    own = ('dinov2_small', 'depth', 'classes')
    assert maps_of(tmp_path, own) == ALL_MAPS - {'depth/image', 'depth/image_color'}
    (tmp_path / 'statistics').mkdir()
    for part in ('mean', 'var'):
        np.save(tmp_path / f'statistics/imagenet_{part}_simulator_depth.npy', np.ones(16, 'f4'))
    assert maps_of(tmp_path, own) == ALL_MAPS
    params = EncoderParams(model=str(tmp_path))
    read = {d.tensor for d in open_decoders(ModelConfig('tiny', own), params)}
    assert read == {'dinov2_small', 'depth', 'classes'}


# --- through the encoder -------------------------------------------------------------------------

PARAMS = EncoderParams(
    backend='torch',
    segmentation_points_per_side=3,
    # The synthetic network thinks little of its masks.
    segmentation_iou_threshold=0.1,
    segmentation_stability_threshold=0.0,
)


@pytest.fixture(scope='module')
def maps(whole_folder):
    """Of a whole model, for the picture of the goldens, by name."""
    rgb = synthetic.golden_rule.image('scene_480x640')
    with Encoder(dataclasses.replace(PARAMS, model=str(whole_folder))) as encoder:
        assert set(encoder.maps) == ALL_MAPS
        return encoder.encode([Frame(rgb)], encoder.maps)[0].maps


def denormalised(folder, predicted, teacher):
    return read_statistics(folder, teacher).denormalise(predicted[teacher])


def repeated(cells):
    """Return the cells of a square at each of 480 x 640 pixels."""
    y, x = (np.arange(pixels) * len(cells) // pixels for pixels in (480, 640))
    return cells[y][:, x]


def test_a_whole_model_gives_every_map_in_the_cameras_size(maps):
    assert set(maps) == ALL_MAPS
    assert all(m.values.shape[:2] == (480, 640) for m in maps.values())


@pytest.mark.parametrize('teacher', ['dinov2', 'sam'])
def test_denormalised_features_are_those_of_the_published_code(whole_folder, predicted, teacher):
    features = denormalised(whole_folder, predicted, teacher)
    np.testing.assert_allclose(
        synthetic.golden_rule.summary(features)[[0, 1, 2, 3, 5]],
        GOLDEN[f'denorm/{synthetic.KEYS[teacher]}/summary'][[0, 1, 2, 3, 5]],
        rtol=0,
        atol=5e-5,
    )


def test_the_view_of_dinov2_is_the_published_one_in_the_middle_of_the_map(maps):
    published = torch.from_numpy(GOLDEN['pca/rgb16']).permute(2, 0, 1)
    expected = stretch(published, (480, 640), 196 / 224, 'bilinear').permute(1, 2, 0)
    view = maps['dinov2/image'].values
    np.testing.assert_allclose(view / 255, expected, rtol=0, atol=0.5 / 255 + 5e-5)


def test_every_cell_of_depth_is_repeated_to_the_cameras_size(maps, whole_folder, predicted):
    head = depth.load(whole_folder / 'decoders' / 'depth_anything.safetensors')
    cells = head.inverse_depth(denormalised(whole_folder, predicted, 'depth_anything'))
    np.testing.assert_allclose(
        maps['depth/image'].values,
        repeated(cells.view(64, 64).numpy()),
        rtol=0,
        atol=1e-6,
    )


def test_segmentation_is_what_its_network_says(maps, whole_folder, predicted, network):
    decoder = SegmentationDecoder(read_statistics(whole_folder, 'sam'), network, PARAMS)
    masks = decoder.find(predicted['sam'][0].T.reshape(256, 64, 64))
    direct = paint(masks, torch.arange(1, len(masks) + 1)).numpy()
    assert direct.any()
    np.testing.assert_array_equal(maps['segmentation/labels'].values, repeated(direct))


MARK = {'rows': slice(45, 110), 'columns': slice(400, 470)}


def test_maps_lie_where_things_are(whole_folder, tmp_path):
    """A red mark in a gray picture of odd size, up on the right, shows at the same pixels.

    The fake engine gives each token the mean colour of its patch, and the head of depth here
    takes the red away: the mark is the only thing that is far.
    """
    folder = Path(shutil.copytree(whole_folder, tmp_path / 'model'))
    weight = torch.zeros(1, 32, 1, 1)
    weight[0, 1] = 1  # the second channel repeats green
    synthetic.save_file(
        {'head.conv3.weight': weight.numpy(), 'head.conv3.bias': np.zeros(1, np.float32)},
        folder / 'decoders' / 'depth_anything.safetensors',
    )
    statistics = folder / 'statistics'
    for stem in ('facebook_dinov2-large', 'LiheYoung_depth-anything-large-hf'):
        for part, value in (('mean', 0), ('var', 1)):
            path = statistics / f'imagenet_{part}_{stem}.npy'
            np.save(path, np.full_like(np.load(path), value))

    rgb = np.full((300, 517, 3), 120, np.uint8)
    # Red moves most, so that it decides the sign of the main direction: the mark is bright.
    rgb[MARK['rows'], MARK['columns']] = (240, 60, 60)
    params = EncoderParams(model=str(folder), backend='fake')
    wanted = ['dinov2/image', 'depth/image', 'depth/image_color']
    with Encoder(params) as encoder:
        maps = encoder.encode([Frame(rgb)], wanted)[0].maps
    with Encoder(params) as encoder:
        scene = Frame(synthetic.golden_rule._scene(300, 517))
        colourful = encoder.encode([scene], ['dinov2/image'])[0].maps['dinov2/image'].values

    far = maps['depth/image'].values < 0.5
    colour = maps['depth/image_color'].values.astype(int)
    dark = (np.abs(colour - colour[75, 435]) < 60).all(axis=-1)
    view = maps['dinov2/image'].values.astype(int)
    marked = (np.abs(view - view[75, 435]) < 60).all(axis=-1)
    for found, cell_hw in ((far, (300 / 64, 517 / 64)), (dark, (300 / 64, 517 / 64))):
        assert_lies_on_the_mark(found, cell_hw)
    assert_lies_on_the_mark(marked, (300 * 0.875 / 16, 517 * 0.875 / 16))

    # DINOv2 saw 87.5 % of each side; what it did not see is black, and nothing else is.
    rows = np.flatnonzero(colourful.any(axis=(1, 2)))
    columns = np.flatnonzero(colourful.any(axis=(0, 2)))
    assert (rows[0], rows[-1], len(rows)) == (19, 280, 262)
    assert (columns[0], columns[-1], len(columns)) == (32, 484, 453)


def assert_lies_on_the_mark(found, cell_hw):
    """The found pixels are those of the mark, each edge to within one cell of the grid."""
    rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
    for seen, mark, cell in (
        (rows, MARK['rows'], cell_hw[0]),
        (columns, MARK['columns'], cell_hw[1]),
    ):
        assert abs(seen[0] - mark.start) <= cell
        assert abs(seen[-1] + 1 - mark.stop) <= cell
        middle = (seen[0] + seen[-1] + 1) / 2
        assert abs(middle - (mark.start + mark.stop) / 2) <= cell / 2 + 0.5
