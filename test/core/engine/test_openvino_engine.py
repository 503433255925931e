from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from helpers import synthetic

from theia_ros import checkpoint
from theia_ros.encoder import Encoder
from theia_ros.engine import build
from theia_ros.engine import engine_file
from theia_ros.engine import open_engine
from theia_ros.engine.cache import folder_of
from theia_ros.engine.engine_file import read_header
from theia_ros.engine.reference import pictures
from theia_ros.errors import EngineError
from theia_ros.params import EncoderParams

pytestmark = pytest.mark.skipif(not find_spec('openvino'), reason='openvino is not installed')

TENSORS = ('theia', 'depth_anything')


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.write_model(tmp_path_factory.mktemp('one_head'), teachers=TENSORS[1:])


@pytest.fixture(scope='module')
def stored(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> EncoderParams:
    """Engines in float32 that were built and stored."""
    cache = str(tmp_path_factory.mktemp('engines'))
    params = EncoderParams(
        model=str(folder), backend='openvino', precision='fp32', engine_cache=cache
    )
    told: list[str] = []
    assert build(params, TENSORS, told.append)
    assert told == [
        'theia: building, none is stored yet',
        'theia: exporting',
        'reading the weights',
        'theia: compiling with openvino fp32',
        'depth_anything: building, none is stored yet',
        'depth_anything: exporting',
        'depth_anything: compiling with openvino fp32',
    ]
    return params


def test_stored_engines_open_without_the_weights(stored: EncoderParams) -> None:
    told: list[str] = []
    with patch.object(checkpoint, 'load', side_effect=AssertionError):
        engine = open_engine(stored, told.append)
    assert told == []
    assert (engine.backend, engine.precision, len(engine.fingerprint)) == ('openvino', 'fp32', 64)
    assert engine.device.startswith('cpu (')
    # Any number of pictures up to max_batch, and no more.
    for batch in (1, 8):
        pixels = pictures()[[0] * batch]
        assert engine.infer(pixels, TENSORS)['depth_anything'].shape == (batch, 4096, 32)
    with pytest.raises(EngineError, match='a batch of 9 pictures; the engine takes 1 to 8'):
        engine.infer(pictures()[[0] * 9], TENSORS)


def test_results_are_the_callers(stored: EncoderParams) -> None:
    engine = open_engine(stored)
    first = engine.infer(pictures()[:1], TENSORS)
    kept = {name: tensor.clone() for name, tensor in first.items()}
    engine.infer(pictures()[1:2], TENSORS)
    for name, tensor in first.items():
        assert torch.equal(tensor, kept[name]), name


def test_pictures_that_may_not_be_written_to(stored: EncoderParams) -> None:
    pixels = pictures()[::2]  # with steps between
    pixels.setflags(write=False)
    engine = open_engine(stored)
    assert engine.infer(pixels, ['theia'])['theia'].shape == (2, 197, 192)


def test_the_files_say_what_made_them(stored: EncoderParams, folder: Path) -> None:
    files = sorted(folder_of(stored).glob('*-openvino-fp32-b8-*.engine'))
    keys = [read_header(path)[0]['key'] for path in files]
    assert [key['part'] for key in keys] == ['depth_anything', 'theia']
    for key in keys:
        assert key['weights_sha256'] == checkpoint.weights_sha256(folder)
        assert key['image_hw'] == [224, 224]
        assert key['torch'] == torch.__version__
        assert key['compiler'].startswith('openvino 20')
        assert '"INFERENCE_PRECISION_HINT": "f32"' in key['settings']
        assert key['device']
        assert key['driver'] == key['cuda'] == ''


def test_a_blob_that_openvino_cannot_read_is_built_again(
    stored: EncoderParams, tmp_path: Path
) -> None:
    """Whole by its checksum, and still of no use."""
    (path,) = folder_of(stored).glob('*-depth_anything-*.engine')
    good = path.read_bytes()
    header = read_header(path)[0]['key']
    key = engine_file.EngineKey(**{**header, 'image_hw': tuple(header['image_hw'])})
    with path.open('wb') as file:
        engine_file.write(file, key, b'no blob')
    told: list[str] = []
    open_engine(stored, told.append)
    assert told[0].startswith(
        f'depth_anything: building, {path.name} cannot be loaded: OpenVINO cannot load the engine'
    )
    assert len(path.read_bytes()) > 0.9 * len(good)


def test_an_encoder_measures_it(stored: EncoderParams) -> None:
    with Encoder(stored) as encoder:
        assert 'openvino' in encoder.provenance.versions
        for tensor in encoder.provenance.tensors:
            assert 1 - 1e-6 < tensor.cosine <= 1
            assert tensor.max_abs_error < 1e-2
        assert len(encoder.provenance.engine_fingerprint) == 64


def test_wrong_weights_in_an_engine_are_found(folder: Path, tmp_path: Path) -> None:
    from theia_ros.engine.openvino_engine import OpenvinoCompiler

    def prepare(self, model):
        model.heads['depth_anything'][-1].weight.data *= 1.1
        return model

    params = EncoderParams(model=str(folder), backend='openvino', engine_cache=str(tmp_path))
    with (
        patch.object(OpenvinoCompiler, 'prepare', prepare),
        pytest.raises(EngineError, match='parity: depth_anything of the openvino engine in fp32'),
    ):
        Encoder(params)
    # It was stored, and is refused from there as well.
    with pytest.raises(EngineError, match='parity: depth_anything of the openvino engine in fp32'):
        Encoder(params)


def test_a_precision_that_the_cpu_lacks_is_refused(folder: Path) -> None:
    from theia_ros.engine import openvino_engine

    class Core:
        def get_property(self, device: str, name: str) -> list[str]:
            return ['FP32', 'INT8']

    params = EncoderParams(model=str(folder), backend='openvino', precision='bf16')
    with (
        patch.object(openvino_engine, '_core', Core),
        pytest.raises(
            EngineError,
            match=r'OpenVINO on .+ computes in fp32, not in bf16; use precision auto',
        ),
    ):
        open_engine(params)


def test_it_runs_on_the_cpu_alone(folder: Path) -> None:
    params = EncoderParams(model=str(folder), backend='openvino', device='cuda')
    with pytest.raises(EngineError, match='cuda'):
        open_engine(params)


def test_what_the_compiler_says_is_one_line(folder: Path, tmp_path: Path) -> None:
    from theia_ros.engine.openvino_engine import OpenvinoCompiler

    params = EncoderParams(model=str(folder), backend='openvino', engine_cache=str(tmp_path))
    with (
        patch.object(OpenvinoCompiler, 'build', side_effect=RuntimeError('no such op\nat x.cpp')),
        pytest.raises(
            EngineError, match=r'^openvino fp32 cannot build theia: RuntimeError: no such op$'
        ),
    ):
        open_engine(params)
    assert not list(tmp_path.glob('*.engine'))


def test_float32_is_within_the_goldens_tolerances(stored: EncoderParams, folder: Path) -> None:
    """As exact as torch, also after the wide normalisations of a 64 by 64 head."""
    reference = open_engine(EncoderParams(model=str(folder), backend='torch', device='cpu'))
    ours, theirs = (e.infer(pictures(), TENSORS) for e in (open_engine(stored), reference))
    for tensor, atol in (('theia', 1e-5), ('depth_anything', 5e-5)):
        torch.testing.assert_close(ours[tensor], theirs[tensor], rtol=0, atol=atol)
