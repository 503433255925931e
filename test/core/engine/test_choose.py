from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from theia_ros import engine as engines
from theia_ros.engine import choose
from theia_ros.engine import open_engine
from theia_ros.errors import EngineError
from theia_ros.params import choices
from theia_ros.params import EncoderParams

ROOT = Path(engines.__file__).parents[2]
CHOOSE = sys.modules[choose.__module__]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Return a function that pretends to be a machine with these."""

    def pretend(cuda: bool = False, installed: tuple[str, ...] = (), lacking: str = '') -> None:
        device = torch.device('cuda:0' if cuda else 'cpu')
        monkeypatch.setattr(CHOOSE, 'find_device', lambda wanted: device)
        monkeypatch.setattr(CHOOSE, 'find_spec', lambda name: name in installed or None)
        for name in ('torch_tensorrt', 'openvino', 'theia_ros.engine.openvino_engine'):
            stand_in = type(sys)(name)
            stand_in.lacking = lambda precision: lacking
            monkeypatch.setitem(sys.modules, name, stand_in)
            if '.' in name:
                monkeypatch.setattr(engines, 'openvino_engine', stand_in, raising=False)

    return pretend


def test_cuda_with_tensorrt(machine) -> None:
    machine(cuda=True, installed=('torch_tensorrt', 'openvino'))
    chosen = choose(EncoderParams())
    assert chosen.backend == 'tensorrt'
    assert chosen.why == 'cuda:0 is there and torch_tensorrt can be imported'


def test_cuda_without_tensorrt(machine) -> None:
    machine(cuda=True, installed=('openvino',))
    chosen = choose(EncoderParams())
    assert (chosen.backend, chosen.why) == ('torch', 'torch_tensorrt is not installed')


def test_cuda_with_a_tensorrt_that_does_not_work(machine, monkeypatch) -> None:
    machine(cuda=True, installed=('torch_tensorrt',))
    monkeypatch.setitem(sys.modules, 'torch_tensorrt', None)
    chosen = choose(EncoderParams())
    assert chosen.backend == 'torch'
    assert chosen.why.startswith('torch_tensorrt is installed but cannot be imported: ')


def test_cpu_with_and_without_openvino(machine) -> None:
    machine(installed=('openvino', 'torch_tensorrt'))
    chosen = choose(EncoderParams())
    assert chosen.backend == 'openvino'
    assert chosen.why == 'the device is the CPU and openvino is installed'
    machine()
    chosen = choose(EncoderParams())
    assert chosen.backend == 'torch'
    assert chosen.why == 'the device is the CPU and openvino is not installed'


@pytest.mark.parametrize('error', [ImportError, OSError], ids=lambda error: error.__name__)
def test_an_openvino_that_does_not_work(error, tmp_path: Path, tiny_folder: Path) -> None:
    """In a process of its own: one that has another OpenVINO can import no second."""
    (tmp_path / 'openvino').mkdir()
    (tmp_path / 'openvino' / '__init__.py').write_text(f"raise {error.__name__}('libtbb is gone')")
    code = (
        'import sys\n'
        'from theia_ros.encoder import Encoder\n'
        'from theia_ros.errors import EngineError\n'
        'from theia_ros.params import EncoderParams\n'
        'model, precision = sys.argv[1:]\n'
        'encoder = Encoder(EncoderParams(model=model, device="cpu", precision=precision))\n'
        'print(encoder.provenance.recipe.backend, *encoder.provenance.notes)\n'
        'try:\n'
        '    Encoder(EncoderParams(model=model, device="cpu", backend="openvino"))\n'
        'except EngineError as exc:\n'
        '    print(exc)\n'
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get('PYTHONPATH', ''), str(ROOT)])
    for precision in ('auto', 'bf16'):
        done = subprocess.run(
            [sys.executable, '-c', code, str(tiny_folder), precision],
            capture_output=True,
            text=True,
            env={**os.environ, 'PYTHONPATH': path},
        )
        why = 'openvino is installed but cannot be imported: libtbb is gone'
        assert done.stdout.splitlines() == [
            f'torch backend auto chose torch: the device is the CPU and {why}',
            f"backend openvino: {why}; pip install 'theia_ros[cpu]'",
        ], done.stderr


def test_a_precision_that_openvino_has_not_here(machine) -> None:
    machine(installed=('openvino',), lacking='OpenVINO on X computes in fp32, not in bf16')
    assert choose(EncoderParams()).backend == 'openvino'
    chosen = choose(EncoderParams(precision='bf16'))
    assert chosen.backend == 'torch'
    assert chosen.why == 'OpenVINO on X computes in fp32, not in bf16'


def test_pictures_of_any_size_need_torch(machine) -> None:
    machine(cuda=True, installed=('torch_tensorrt',))
    chosen = choose(EncoderParams(preprocessing='native'))
    assert chosen.backend == 'torch'
    assert chosen.why == 'preprocessing native needs an engine for any size'


def test_what_is_asked_for_is_taken(machine) -> None:
    machine(cuda=True, installed=('torch_tensorrt', 'openvino'))
    for backend in ('torch', 'openvino', 'tensorrt', 'fake'):
        chosen = choose(EncoderParams(backend=backend))
        assert (chosen.backend, chosen.why) == (backend, '')


def test_parameters_offer_the_backends_that_there_are() -> None:
    assert set(choices('backend')) == {'auto', *engines.BACKENDS}
    assert set(engines.COMPILERS) < set(engines.BACKENDS)


@pytest.mark.parametrize(
    ('backend', 'message'),
    [
        (
            'openvino',
            r"backend openvino: openvino is not installed; pip install 'theia_ros\[cpu\]'",
        ),
        (
            'tensorrt',
            r'backend tensorrt: torch_tensorrt is not installed; '
            r"pip install 'theia_ros\[tensorrt\]' or 'theia_ros\[tensorrt-rtx\]'",
        ),
    ],
)
def test_what_is_not_installed_is_named(backend, message, machine, tiny_folder: Path) -> None:
    machine()
    with pytest.raises(EngineError, match=message):
        open_engine(EncoderParams(model=str(tiny_folder), backend=backend))


@pytest.mark.parametrize('backend', ['openvino', 'tensorrt'])
def test_built_engines_have_one_size(backend: str, tiny_folder: Path) -> None:
    params = EncoderParams(model=str(tiny_folder), backend=backend, preprocessing='native')
    with pytest.raises(
        EngineError,
        match=f'backend {backend} is built for one size of pictures; preprocessing native needs '
        'backend torch',
    ):
        open_engine(params)


def test_tensorrt_needs_cuda(machine, tiny_folder: Path) -> None:
    machine(installed=('torch_tensorrt',))
    params = EncoderParams(model=str(tiny_folder), backend='tensorrt', device='cpu')
    with pytest.raises(EngineError, match='backend tensorrt runs on CUDA; device is cpu'):
        open_engine(params)


def test_an_unknown_backend_is_named() -> None:
    params = EncoderParams()
    with (
        patch.object(engines, 'choose', lambda _: CHOOSE.Choice('onnx')),
        pytest.raises(EngineError, match="unknown backend 'onnx'; known: auto, tensorrt, torch"),
    ):
        open_engine(params)
