from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers import synthetic
from PIL import Image

from theia_ros.cli import main

ROOT = Path(__file__).parents[3]
needs_openvino = pytest.mark.skipif(not find_spec('openvino'), reason='openvino is not installed')


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.write_model(tmp_path_factory.mktemp('one_head'), teachers=('clip',))


def run(folder: Path, cache: Path, *more: str) -> int:
    return main(['build-engine', '--model', str(folder), '--engine-cache', str(cache), *more])


@needs_openvino
def test_builds_what_is_asked_for(folder: Path, tmp_path: Path, capsys) -> None:
    assert run(folder, tmp_path, '--backend', 'openvino', '--tensors', 'clip') == 0
    out, err = capsys.readouterr()
    assert out.startswith(f'{tmp_path}: clip for backend openvino, ')
    stages = [line.split(' s  ')[1] for line in err.splitlines()]
    assert stages == [
        'clip: building, none is stored yet',
        'clip: exporting',
        'reading the weights',
        'clip: compiling with openvino fp32',
    ]
    assert [p.name.split('-openvino')[0] for p in tmp_path.glob('*.engine')] == [
        f'{folder.name}-clip'
    ]
    # The second time there is nothing to do.
    assert run(folder, tmp_path, '--backend', 'openvino', '--tensors', 'clip') == 0
    assert capsys.readouterr().err == ''


@needs_openvino
@pytest.mark.parametrize(
    ('number', 'status'), [(signal.SIGINT, 130), (signal.SIGKILL, -9)], ids=['ctrl-c', 'kill']
)
def test_a_stopped_build_leaves_nothing(number, status, folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, '-u', '-m', 'theia_ros.cli', 'build-engine']
    command += ['--model', str(folder), '--engine-cache', str(tmp_path), '--backend', 'openvino']
    with subprocess.Popen(
        command, cwd=ROOT, env=dict(os.environ), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        for line in process.stderr:
            if 'theia: exporting' in line:
                break
        process.send_signal(number)
        rest = process.stderr.read()
    assert process.returncode == status
    assert 'Traceback' not in rest
    # What is killed can take nothing away; its lock is free, and stands in nobody's way.
    left = {'.lock'} if number == signal.SIGKILL else set()
    assert {p.suffix for p in tmp_path.iterdir()} == left


@needs_openvino
def test_engines_that_cannot_be_stored_are_an_error(folder: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / 'file').write_text('')
    assert run(folder, tmp_path / 'file', '--backend', 'openvino') == 2
    out, err = capsys.readouterr()
    assert out == ''
    assert err.splitlines()[-1] == (
        f'theia-ros build-engine: engines cannot be stored in {tmp_path}/file (it is no folder); '
        'name another folder'
    )
    assert 'exporting' not in err


@needs_openvino
def test_another_configuration_is_never_served_by_an_older_engine(tmp_path: Path, capsys) -> None:
    folder = synthetic.write_model(tmp_path / 'model', teachers=('clip',))
    image = tmp_path / 'image.png'
    Image.new('RGB', (32, 32)).save(image)
    command = ['encode', str(image), '--model', str(folder), '--backend', 'openvino']
    command += ['--output', str(tmp_path / 'features.npz')]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('THEIA_ROS_CACHE', str(tmp_path / 'cache'))
        assert main(command) == 0
        assert ': building, none is stored yet\n' in capsys.readouterr().err
        config = folder / 'config.json'
        whole = config.read_text()
        larger = whole.replace('deit-tiny', 'deit-small')
        without_head = json.dumps(json.loads(whole) | {'target_feature_sizes': {}})
        for other in (larger, without_head):
            assert other != whole
            config.write_text(other)
            assert main(command) == 2
            said = capsys.readouterr().err
            assert 'theia: building, an older engine differs in config (' in said
            assert str(folder) in said.splitlines()[-1]
            assert 'Traceback' not in said


def test_a_home_that_nobody_has_is_one_line(folder: Path, tmp_path: Path, capsys) -> None:
    assert run(folder, Path('~nobody-by-this-name/engines'), '--backend', 'openvino') == 2
    said = capsys.readouterr().err
    assert said.startswith('theia-ros build-engine: ~nobody-by-this-name/engines: ')
    assert said.count('\n') == 1


def test_a_backend_that_builds_nothing_says_so(folder: Path, tmp_path: Path, capsys) -> None:
    assert run(folder, tmp_path, '--backend', 'torch') == 0
    assert capsys.readouterr().out == 'backend torch builds no engines; nothing to do\n'


def test_mistakes_are_one_line(folder: Path, tmp_path: Path, capsys) -> None:
    assert run(folder, tmp_path, '--tensors', 'theia,clp') == 2
    assert capsys.readouterr().err == (
        f"theia-ros build-engine: {folder} has no tensor 'clp'; it has theia, clip\n"
    )
    assert run(folder, tmp_path, '--max-batch', '0') == 2
    assert 'max_batch is 0; use 1 to 64' in capsys.readouterr().err
    assert run(tmp_path / 'none', tmp_path) == 2
    assert 'unknown model' in capsys.readouterr().err
