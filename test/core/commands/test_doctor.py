"""The command with things broken on purpose: real processes, folders and engines."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers import synthetic

from theia_ros.cli import main
from theia_ros.engine import build
from theia_ros.engine import COMPILERS
from theia_ros.engine.build import PartsBuilder
from theia_ros.engine.engine_file import read
from theia_ros.engine.engine_file import write
from theia_ros.engine.source import Source
from theia_ros.params import EncoderParams

ROOT = Path(__file__).parents[3]
NO_ROS = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('rclpy', 'theia_msgs', 'cv_bridge'):
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)
sys.meta_path.insert(0, Missing())
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.write_model(tmp_path_factory.mktemp('small'), teachers=())


def without_ros(fakes: Path, modules: dict[str, str] | None = None) -> dict[str, str]:
    """Return variables of a machine without ROS; modules by name stand in front of all others.

    So these tests are the same everywhere; test/ros has the other half.
    """
    fakes.mkdir(exist_ok=True)
    for name, code in {'sitecustomize': NO_ROS, **(modules or {})}.items():
        (fakes / f'{name}.py').write_text(code)
    return {**os.environ, 'PYTHONPATH': f'{fakes}{os.pathsep}{ROOT}'}


@pytest.fixture
def doctor(tmp_path: Path):
    """Return a function that runs the command without ROS; see `without_ros`."""

    def run(*arguments, modules: dict[str, str] | None = None, **variables):
        return subprocess.run(
            [sys.executable, '-m', 'theia_ros.cli', 'doctor', *map(str, arguments)],
            env={**without_ros(tmp_path / 'fakes', modules), **variables},
            capture_output=True,
            text=True,
        )

    return run


def findings(path: Path) -> dict[str, dict]:
    told = json.loads(path.read_text())
    return {finding['name']: finding for finding in told['findings']}


def test_a_machine_without_ros(doctor, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / 'doctor.json'
    done = doctor('--model', folder, '--backend', 'torch', '--json', out)
    assert done.returncode == 1, done.stdout + done.stderr
    assert 'Traceback' not in done.stdout + done.stderr
    assert '\x1b' not in done.stdout
    assert done.stdout.splitlines()[0] == 'Python'
    assert done.stdout.splitlines()[-1].endswith('the encoder node would not run')
    told = findings(out)
    errors = {name for name, finding in told.items() if finding['level'] == 'error'}
    assert errors == {'rclpy', 'theia_msgs'}
    assert told['rclpy']['wrong'] == 'rclpy cannot be imported: no ROS 2 is sourced'
    assert told['rclpy']['cures']
    assert told['engine']['found'].startswith('torch fp32 on cpu (')
    figures = told['parity theia']['figures']
    assert (figures['cosine'], figures['max_abs_error'], figures['good']) == (1.0, 0.0, True)
    assert '  ERROR    rclpy: ' in done.stdout
    assert '           cure: ' in done.stdout


def test_no_engine_opens_none(doctor, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / 'doctor.json'
    doctor('--model', folder, '--no-engine', '--json', out)
    assert findings(out)['engine']['found'] == 'not opened (--no-engine)'
    assert not (tmp_path / 'cache').exists()


def test_a_damaged_model_file(doctor, folder: Path, tmp_path: Path) -> None:
    broken, out = tmp_path / 'broken', tmp_path / 'doctor.json'
    shutil.copytree(folder, broken)
    path = broken / 'model.safetensors'
    path.write_bytes(path.read_bytes()[:-1000])
    done = doctor('--model', broken, '--json', out)
    assert done.returncode == 1
    weights = findings(out)['weights']
    assert weights['level'] == 'error'
    assert weights['wrong'].startswith(f'{path} is no whole safetensors file: ')
    assert 'engine' not in findings(out)  # which would fail of the same


def test_torch_that_crashes_when_it_is_imported(doctor, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / 'doctor.json'
    crash = 'import os, signal; os.kill(os.getpid(), signal.SIGSEGV)'
    done = doctor('--model', folder, '--json', out, modules={'torch': crash})
    assert done.returncode == 1
    assert findings(out)['torch']['wrong'] == 'it crashed with SIGSEGV'
    assert done.stdout.splitlines()[-1].endswith('would not run')


def test_openvino_that_raises_when_it_is_imported(doctor, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / 'doctor.json'
    broken = "raise ImportError('libopenvino.so.2630: cannot open shared object file')"
    arguments = ('--model', folder, '--no-engine', '--backend', 'torch', '--json', out)
    doctor(*arguments, modules={'openvino': broken})
    assert findings(out)['OpenVINO']['level'] == 'warning'
    assert 'libopenvino.so.2630' in findings(out)['OpenVINO']['found']


@pytest.fixture
def corrupted(folder: Path, tmp_path: Path) -> Path:
    """A cache with an engine of other weights, under the name and the checksum of ours."""
    if not find_spec('openvino'):
        pytest.skip('openvino is not installed')
    other = synthetic.write_model(tmp_path / 'other', teachers=())
    path = other / 'model.safetensors'
    content = bytearray(path.read_bytes())
    content[-400_000:] = content[:-400_000][-400_000:]  # other numbers, as finite as before
    path.write_bytes(content)
    cache = tmp_path / 'engines'
    wrong, right = (
        EncoderParams(model=str(m), backend='openvino', engine_cache=str(cache))
        for m in (other, folder)
    )
    quiet = lambda stage: None  # noqa: E731
    assert build(wrong, ('theia',), quiet)
    theirs, ours = (
        PartsBuilder(COMPILERS['openvino'](p), Source(p.model), p, quiet).key('theia')
        for p in (wrong, right)
    )
    stored = cache / theirs.file_name
    with (cache / ours.file_name).open('wb') as file:
        write(file, ours, read(stored, theirs))
    stored.unlink()
    return cache


def test_an_engine_that_is_wrong_without_being_damaged(
    doctor, folder: Path, corrupted: Path, tmp_path: Path
) -> None:
    out = tmp_path / 'doctor.json'
    done = doctor(
        *('--model', folder, '--backend', 'openvino', '--json', out),
        THEIA_ROS_CACHE=str(corrupted.parent),
    )
    assert 'Traceback' not in done.stdout + done.stderr
    assert done.returncode == 1, done.stdout
    told = findings(out)
    assert told['engine']['level'] == 'error'
    assert told['engine']['wrong'].startswith('parity: ')
    assert told['engine']['cures'][0].startswith(f'rm {corrupted}/*.engine && theia-ros build-eng')
    parity = told['parity theia']
    assert parity['level'] == 'error'
    assert parity['figures']['max_abs_error'] > parity['figures']['error_limit']


# --- mistakes in the arguments -------------------------------------------------------------------


def test_mistakes_are_one_line_and_status_2(tmp_path: Path, capsys) -> None:
    for arguments, said in (
        (['--params', tmp_path / 'no.yaml'], f'--params {tmp_path}/no.yaml: no such file'),
        (['--json', tmp_path / 'no' / 'x'], f'--json {tmp_path}/no/x: its folder does not exist'),
    ):
        assert main(['doctor', *map(str, arguments)]) == 2
        assert capsys.readouterr().err == f'theia-ros doctor: {said}\n'
    for arguments in (['--backend', 'magic'], ['--colour'], ['extra']):
        with pytest.raises(SystemExit) as caught:
            main(['doctor', *arguments])
        assert caught.value.code == 2
        assert arguments[-1] in capsys.readouterr().err


def test_help_has_examples_and_the_exit_status(capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(['doctor', '--help'])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert 'theia-ros doctor --params my_robot.yaml --json doctor.json' in text
    assert 'exit status: 0 the encoder node would run, 1 it would not' in text


# --- where it is read ----------------------------------------------------------------------------


def test_nobody_reads_to_the_end(doctor, folder: Path, tmp_path: Path) -> None:
    """As with `theia-ros doctor | head -1`."""
    environ = without_ros(tmp_path / 'fakes')
    command = [sys.executable, '-m', 'theia_ros.cli', 'doctor', '--no-engine', '--model', folder]
    with subprocess.Popen(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == 'Python\n'
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 1
    assert 'Traceback' not in said
    assert 'BrokenPipe' not in said


def test_a_terminal_gets_colour_and_letters_that_it_has(tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    strange = tmp_path / 'mödel'
    environ = {**without_ros(tmp_path / 'fakes'), 'PYTHONIOENCODING': 'ascii'}
    environ.pop('NO_COLOR', None)
    command = [sys.executable, '-m', 'theia_ros.cli', 'doctor', '--no-engine', '--model', strange]
    process = subprocess.Popen(command, env=environ, stdout=follower, stderr=subprocess.DEVNULL)
    os.close(follower)
    shown = b''
    while True:
        try:
            block = os.read(leader, 4096)
        except OSError:  # the other end is closed
            break
        if not block:
            break
        shown += block
    os.close(leader)
    assert process.wait() == 1
    assert b'\x1b[32mok     \x1b[0m  Python: ' in shown
    assert b'\x1b[31;1mERROR  \x1b[0m  model: ' in shown
    assert b'm\\xf6del' in shown
