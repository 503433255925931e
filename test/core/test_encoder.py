from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import synthetic

from theia_ros.catalog import TEACHERS
from theia_ros.datatypes import Frame
from theia_ros.datatypes import Region
from theia_ros.encoder import Encoder
from theia_ros.errors import ParameterError
from theia_ros.hub import store
from theia_ros.params import EncoderParams

RULE = synthetic.golden_rule
ENCODER = synthetic.goldens('tiny_encoder')
FAKE = EncoderParams(model='theia-tiny-patch16-224-cddsv', backend='fake')


@pytest.fixture(scope='module')
def fake() -> Encoder:
    return Encoder(FAKE)


def test_features_are_those_of_the_published_code(tiny_folder: Path) -> None:
    with Encoder(EncoderParams(model=str(tiny_folder), backend='torch')) as encoder:
        names = ['noise_224', 'scene_480x640', 'scene_96x128']
        frames = [Frame(RULE.image(name), stamp_ns=i) for i, name in enumerate(names)]
        for i, encoded in enumerate(encoder.encode(frames, ['theia'])):
            features = encoded.features['theia']
            golden = ENCODER[f'tokens/{names[i]}'][1:]
            np.testing.assert_allclose(features.tokens, golden, rtol=0, atol=1e-5)
            assert features.tokens.dtype == np.float32
            assert features.grid_hw == (14, 14)
            assert features.stamp_ns == i


def test_only_what_is_asked_for_is_given(fake: Encoder) -> None:
    frame = Frame(np.zeros((48, 64, 3), np.uint8))
    encoded = fake.encode([frame], ['sam', 'dinov2/image'])[0]
    assert set(encoded.features) == {'sam'}
    assert set(encoded.maps) == {'dinov2/image'}
    nothing = fake.encode([frame], [])[0]
    assert (nothing.features, nothing.maps) == ({}, {})


def test_shapes_grids_and_regions(fake: Encoder) -> None:
    frame = Frame(np.zeros((480, 640, 3), np.uint8), 5, 'lens')
    features = fake.encode([frame], fake.tensors)[0].features
    assert features['theia'].tokens.shape == (196, 192)
    assert features['theia'].region == Region(0, 0, 640, 480)
    assert features['dinov2'].region == Region(40, 30, 560, 420)
    for name, teacher in TEACHERS.items():
        h, w = teacher.grid_hw
        assert features[name].tokens.shape == (h * w, teacher.channels)
        assert features[name].as_map().shape == (teacher.channels, h, w)
        assert (features[name].stamp_ns, features[name].frame_id) == (5, 'lens')


def test_a_mark_in_one_corner_stays_there(fake: Encoder) -> None:
    """The fake gives each token the mean colour of its patch: rows, columns, red show."""
    rgb = np.zeros((48, 96, 3), np.uint8)
    rgb[:12, 72:, 0] = 255
    features = fake.encode([Frame(rgb)], ['theia', 'depth_anything'])[0].features
    for name, side in (('theia', 14), ('depth_anything', 64)):
        red, green, _ = features[name].as_map()[:3]
        assert red[0, side - 1] == pytest.approx(1.0)
        assert red[0, 0] == red[side - 1, side - 1] == red[side - 1, 0] == 0.0
        assert not green.any()


@pytest.mark.parametrize(
    ('reduction', 'tokens', 'grid_hw'),
    [
        ('none', 196, (14, 14)),
        ('identity', 197, (0, 0)),
        ('cls', 1, (0, 0)),
        ('mean', 1, (0, 0)),
        ('max', 1, (0, 0)),
    ],
)
def test_reductions_change_the_backbone_only(reduction, tokens, grid_hw) -> None:
    with Encoder(dataclasses.replace(FAKE, reduction=reduction)) as encoder:
        encoded = encoder.encode([Frame(np.zeros((9, 7, 3), np.uint8))], ['theia', 'clip'])[0]
        backbone, clip = encoded.features['theia'], encoded.features['clip']
        assert (backbone.tokens.shape, backbone.grid_hw) == ((tokens, 192), grid_hw)
        assert (clip.tokens.shape, clip.grid_hw) == ((256, 1024), (16, 16))
        info = encoder.provenance.tensors[0]
        assert (info.shape, info.grid_hw) == ((tokens, 192), grid_hw)


def test_the_view_does_not_depend_on_the_reduction() -> None:
    """Maps are made of patch tokens, also when the published features are pooled."""
    rgb = RULE.image('scene_96x128')
    views = []
    for reduction in ('none', 'cls'):
        params = EncoderParams(model='demo-dinov2-small', backend='fake', reduction=reduction)
        encoded = Encoder(params).encode([Frame(rgb)], ['dinov2/image'])[0]
        views.append(encoded.maps['dinov2/image'].values)
    np.testing.assert_array_equal(views[0], views[1])
    assert views[0].shape == (96, 128, 3)
    assert views[0].std() > 10


def test_native_pictures_keep_their_grid() -> None:
    params = EncoderParams(
        model='theia-tiny-patch16-224-cdiv', backend='fake', preprocessing='native'
    )
    features = Encoder(params).encode([Frame(RULE.image('scene_320x256'))], ['theia'])[0].features
    assert features['theia'].grid_hw == (20, 16)
    assert features['theia'].as_map().shape == (192, 20, 16)


def test_an_unknown_output_is_refused(fake: Encoder) -> None:
    with pytest.raises(ParameterError, match=r"does not give 'deep'; it gives theia, vit"):
        fake.encode([Frame(np.zeros((9, 7, 3), np.uint8))], ['theia', 'deep'])


def test_steps_are_timed(fake: Encoder) -> None:
    step_ms = fake.encode([Frame(np.zeros((48, 64, 3), np.uint8))], ['theia'])[0].step_ms
    assert list(step_ms) == ['preprocess', 'compute', 'copy_back', 'decode']
    assert all(0 <= ms < 60_000 for ms in step_ms.values())


def test_provenance_tells_what_decides_the_numbers(tiny_folder: Path) -> None:
    params = EncoderParams(model=str(tiny_folder), backend='torch', device='cpu')
    with Encoder(params) as encoder:
        provenance = encoder.provenance
    recipe = provenance.recipe
    assert len(recipe.weights_sha256) == 64
    assert (recipe.backend, recipe.precision) == ('torch', 'fp32')
    assert provenance.device.startswith('cpu')
    assert provenance.versions['torch'].startswith('2.')
    assert [t.name for t in provenance.tensors] == ['theia', *TEACHERS]
    digest = recipe.digest
    assert len(digest) == 64
    for field in dataclasses.fields(recipe):
        other = dataclasses.replace(recipe, **{field.name: 'other'})
        assert other.digest != digest, field.name
    assert dataclasses.replace(recipe).digest == digest


def test_provenance_names_the_commit_of_fetched_weights(tiny_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / 'model'))
    params = EncoderParams(model=str(folder), backend='torch', device='cpu')
    path = folder / 'model.safetensors'
    record = store.Record(
        repo='owner/name',
        file=path.name,
        revision='0123456789abcdef0123456789abcdef01234567',
        etag=None,
        size=path.stat().st_size,
        sha256=store.sha256_of(path),
        fetched='2025-01-01T00:00:00+00:00',
        licence='Apache-2.0',
        licence_accepted=False,
    )
    # Without a record, with that of these weights, and with that of others.
    expected = {None: '', record: record.revision, dataclasses.replace(record, sha256='0'): ''}
    for kept, revision in expected.items():
        if kept:
            store.keep(path.rename(folder / 'some.part'), path, kept)
        with Encoder(params) as encoder:
            assert encoder.provenance.revision == revision


def test_live_parameters_change_what_follows() -> None:
    frame = Frame(RULE.image('scene_480x640'))
    with Encoder(FAKE) as encoder:
        encoder.use(dataclasses.replace(FAKE, map_width_px=100))
        view = encoder.encode([frame], ['dinov2/image'])[0].maps['dinov2/image']
        assert view.values.shape == (75, 100, 3)
        with pytest.raises(ParameterError, match='reduction cannot change while'):
            encoder.use(dataclasses.replace(FAKE, reduction='cls'))
