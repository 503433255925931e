from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from helpers import synthetic

from theia_ros import checkpoint
from theia_ros import engine as engines
from theia_ros import parity
from theia_ros.encoder import Encoder
from theia_ros.engine.parts_engine import HostExecutor
from theia_ros.engine.parts_engine import Label
from theia_ros.engine.parts_engine import PartsEngine
from theia_ros.engine.precision import in_precision
from theia_ros.engine.reference import pictures
from theia_ros.engine.split import part_of
from theia_ros.errors import EngineError
from theia_ros.model import TheiaModel
from theia_ros.params import EncoderParams

TEACHERS = ('clip', 'dinov2')


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.write_model(tmp_path_factory.mktemp('two_heads'), teachers=TEACHERS)


@pytest.fixture(scope='module')
def reference(folder: Path) -> dict[str, torch.Tensor]:
    model = checkpoint.load(folder)
    return model(torch.from_numpy(pictures()), model.config.tensors)


def parts_engine(
    folder: Path, precision: str = 'fp32', spoil: Callable[[TheiaModel], None] = bool
) -> PartsEngine:
    """Return an engine whose parts are torch modules, after `spoil` has had its way."""
    model = in_precision(checkpoint.load(folder), precision)
    spoil(model)
    runners = {name: part_of(model, name) for name in model.config.tensors}
    label = Label('tensorrt', precision, 'a GPU', 'abc')
    return PartsEngine(model.config, label, HostExecutor(runners), 2)


def scale_the_head(model: TheiaModel) -> None:
    model.heads['clip'][-1].weight.mul_(1.01)


def scale_the_backbone(model: TheiaModel) -> None:
    model.backbone.layers[5].fc2.weight.mul_(1.5)


def swap_the_heads(model: TheiaModel) -> None:
    model.heads['clip'], model.heads['dinov2'] = model.heads['dinov2'], model.heads['clip']


def break_one_number(model: TheiaModel) -> None:
    model.heads['dinov2'][-1].bias[7] = math.nan


def shift_the_positions(model: TheiaModel) -> None:
    positions = model.backbone.positions
    model.backbone.positions.data = positions.roll(1, dims=1)


@pytest.mark.parametrize('precision', ['fp32', 'fp16', 'bf16'])
def test_a_good_engine_passes(precision: str, folder: Path, reference) -> None:
    found = parity.compare(parts_engine(folder, precision), reference)
    assert set(found) == {'theia', 'clip', 'dinov2'}
    for name, measured in found.items():
        assert measured.good, name
        assert measured.cosine > parity.LIMITS[precision].cosine
        assert 0 < measured.max_abs_error < measured.limit.error
    parity.judge(parts_engine(folder, precision), found)


@pytest.mark.parametrize(
    ('spoil', 'named'),
    [
        (scale_the_head, 'clip of'),
        (scale_the_backbone, r'\w+ and 2 more of'),
        (swap_the_heads, '(clip|dinov2) and 1 more of'),
        (break_one_number, 'dinov2 of'),
        (shift_the_positions, r'\w+ and 2 more of'),
    ],
)
def test_a_wrong_engine_is_refused(spoil, named: str, folder: Path, reference) -> None:
    engine = parts_engine(folder, spoil=spoil)
    found = parity.compare(engine, reference)
    with pytest.raises(
        EngineError, match=rf'^parity: {named} the tensorrt engine in fp32 on a GPU'
    ):
        parity.judge(engine, found)


def test_the_refusal_tells_figures_limits_and_what_to_do(folder: Path, reference) -> None:
    engine = parts_engine(folder, spoil=scale_the_head)
    found = parity.compare(engine, reference)
    largest = float(reference['clip'].abs().max())
    assert found['clip'].cosine > 0.999  # a scaled tensor has the right direction: errors tell
    assert found['clip'].max_abs_error > 1e-3 * largest
    with pytest.raises(
        EngineError,
        match=r'smallest cosine 0\.99\d+ \(limit 0.999999\), largest error [\d.e-]+ '
        rf'\(limit {1e-3 * largest:.3g}\), scale 1\.0\d+ \(limit 1 \+- 0.0001\); '
        'use another precision or backend, or set '
        'on_parity_failure to fallback$',
    ):
        parity.judge(engine, found)


def test_nan_is_never_within_limits(folder: Path, reference) -> None:
    found = parity.compare(parts_engine(folder, spoil=break_one_number), reference)
    assert math.isnan(found['dinov2'].cosine)
    assert math.isnan(found['dinov2'].max_abs_error)
    assert not found['dinov2'].good
    assert found['theia'].good
    assert found['clip'].good


def test_a_single_picture_is_compared_too(folder: Path, reference) -> None:
    """An engine may have other kernels for a batch of one."""
    engine = parts_engine(folder)
    right = engine.infer

    def infer(pixels, tensors):
        found = right(pixels, tensors)
        return {name: -t if len(pixels) == 1 else t for name, t in found.items()}

    engine.max_batch = 3
    with patch.object(engine, 'infer', infer):
        found = parity.compare(engine, reference)
    assert found['theia'].cosine < 0


@pytest.mark.parametrize('max_batch', [1, 2, 3, 5, 8, 64])
def test_every_picture_alone_or_in_the_largest_batch(max_batch: int, folder: Path, reference):
    engine = parts_engine(folder)
    engine.max_batch = max_batch
    seen, right = [], engine.infer

    def infer(pixels, tensors):
        seen.append([[bool((p == q).all()) for q in pictures()].index(True) for p in pixels])
        return right(pixels, tensors)

    with patch.object(engine, 'infer', infer):
        found = parity.compare(engine, reference)
    assert all(measured.good for measured in found.values())
    assert (
        seen
        == {
            1: [[0], [1], [2]],
            2: [[0], [0, 1], [2]],
            3: [[0], [0, 1, 2]],
            5: [[0], [0, 1, 2, 0, 1]],
            8: [[0], [0, 1, 2, 0, 1, 2, 0, 1]],
            64: [[0], [0, 1, 2, 0, 1, 2, 0, 1]],
        }[max_batch]
    )


@pytest.mark.parametrize(
    ('precision', 'factor'),
    [('fp32', 1.0002), ('fp16', 1.004), ('fp16', 0.996), ('bf16', 1.02), ('bf16', 0.98)],
)
def test_a_wrong_scale_is_refused(precision: str, factor: float, folder: Path, reference) -> None:
    """Also where it hides among the errors of a reduced precision."""
    engine = parts_engine(folder, precision)
    right = engine.infer

    def infer(pixels, tensors):
        return {name: t * factor for name, t in right(pixels, tensors).items()}

    with patch.object(engine, 'infer', infer):
        found = parity.compare(engine, reference)
    for measured in found.values():
        assert measured.scale == pytest.approx(factor, rel=1e-3)
        assert measured.cosine >= measured.limit.cosine
        assert not measured.good


@pytest.mark.parametrize('name', ['theia', 'clip'])
def test_tensors_that_are_missing_are_named(name: str, folder: Path, reference) -> None:
    less = {tensor: numbers for tensor, numbers in reference.items() if tensor != name}
    engine = parts_engine(folder)
    with (
        patch.object(engine, 'infer', lambda pixels, tensors: less),
        pytest.raises(
            EngineError, match=rf'^the tensorrt engine gives {", ".join(sorted(less))}; '
        ),
    ):
        parity.compare(engine, reference)


def test_a_wrong_shape_is_named(folder: Path, reference) -> None:
    wrong = {**reference, 'clip': reference['clip'][:, :5]}
    with pytest.raises(EngineError, match=r'clip of the tensorrt engine has shape \(1, 256, 1024'):
        parity.compare(parts_engine(folder), wrong)


# --- opening -------------------------------------------------------------------------------------


@pytest.fixture
def spoilt(folder: Path):
    """Let backend openvino open an engine that is wrong."""
    opener = {'openvino': lambda params, report: parts_engine(folder, spoil=swap_the_heads)}
    with patch.dict(engines.BACKENDS, opener):
        yield EncoderParams(model=str(folder), backend='openvino', device='cpu')


def test_an_encoder_refuses_a_wrong_engine(spoilt: EncoderParams) -> None:
    with pytest.raises(EngineError, match=r'parity: .* of the tensorrt engine'):
        Encoder(spoilt)


def test_or_falls_back_loudly(spoilt: EncoderParams) -> None:
    told: list[str] = []
    params = dataclasses.replace(spoilt, on_parity_failure='fallback')
    with Encoder(params, told.append) as encoder:
        recipe = encoder.provenance.recipe
        assert (recipe.backend, recipe.precision) == ('torch', 'fp32')
        (note,) = encoder.provenance.notes
    assert note.startswith('fell back to torch fp32, which is slow: parity: ')
    assert [line for line in told if line.startswith('FALLING BACK to the float32 reference: ')]


@pytest.mark.parametrize('stage', ['infer', 'shape'])
@pytest.mark.parametrize('on_failure', ['refuse', 'fallback'])
def test_an_engine_that_fails_when_it_is_compared(
    stage: str, on_failure: str, folder: Path
) -> None:
    engine = parts_engine(folder)
    right = engine.infer

    def infer(pixels, tensors):
        if stage == 'infer':
            raise EngineError('the device is lost')
        return {name: t[:, :5] for name, t in right(pixels, tensors).items()}

    why = 'the device is lost' if stage == 'infer' else 'has shape'
    params = EncoderParams(
        model=str(folder), backend='openvino', device='cpu', on_parity_failure=on_failure
    )
    opener = {'openvino': lambda params, report: engine}
    with patch.dict(engines.BACKENDS, opener), patch.object(engine, 'infer', infer):
        if on_failure == 'refuse':
            with pytest.raises(EngineError, match=why):
                parity.open_checked(params, lambda stage: None)
        else:
            opened = parity.open_checked(params, lambda stage: None)
            assert opened.engine.backend == 'torch'
            assert opened.notes[0].startswith('fell back to torch fp32, which is slow: ')
            assert why in opened.notes[0]
    with pytest.raises(EngineError, match='closed'):
        right(pictures()[:1], ['theia'])


def test_a_fallback_that_is_wrong_too_is_refused(spoilt: EncoderParams, folder: Path) -> None:
    """As a reference on a GPU may be; it falls back once only."""
    told: list[str] = []
    opener = {'torch': lambda params, report: parts_engine(folder, spoil=swap_the_heads)}
    params = dataclasses.replace(spoilt, on_parity_failure='fallback')
    with patch.dict(engines.BACKENDS, opener), pytest.raises(EngineError, match=r'^parity: '):
        parity.open_checked(params, told.append)
    assert len([line for line in told if line.startswith('FALLING BACK')]) == 1


def test_provenance_has_what_was_measured(folder: Path) -> None:
    opener = {'openvino': lambda params, report: parts_engine(folder, 'bf16')}
    with patch.dict(engines.BACKENDS, opener):
        params = EncoderParams(model=str(folder), backend='openvino', device='cpu')
        tensors = Encoder(params).provenance.tensors
    for tensor in tensors:
        assert 0.995 < tensor.cosine < 1
        assert tensor.max_abs_error > 0


def test_the_reference_itself_is_not_measured(folder: Path) -> None:
    params = EncoderParams(model=str(folder), backend='torch', device='cpu')
    with patch.object(parity, 'reference', side_effect=AssertionError):
        tensors = Encoder(params).provenance.tensors
    assert {(t.cosine, t.max_abs_error) for t in tensors} == {(1.0, 0.0)}


def test_the_fake_has_no_parity() -> None:
    params = EncoderParams(model='theia-tiny-patch16-224-cdiv', backend='fake')
    tensors = Encoder(params).provenance.tensors
    assert all(math.isnan(t.cosine) and math.isnan(t.max_abs_error) for t in tensors)


def test_opening_tells_what_it_does(folder: Path) -> None:
    params = EncoderParams(model=str(folder), backend='torch', precision='bf16', device='cpu')
    told: list[str] = []
    opened = parity.open_checked(params, told.append)
    assert told == [
        'reference: building, none is stored yet',
        'comparing with the float32 reference',
    ]
    assert opened.parity['clip'].good
