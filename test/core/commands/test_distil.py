"""`theia-ros distil` as people use it: real files, real runs, kills and full disks."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import clips
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from theia_ros.cli import main
from theia_ros.datatypes import Frame
from theia_ros.encoder import Encoder
from theia_ros.params import EncoderParams

pytestmark = pytest.mark.filterwarnings('ignore::DeprecationWarning:matplotlib.*')


@pytest.fixture(autouse=True)
def no_gradients(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Here they are wanted; and one thread, so that processes and tests add up alike."""
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope='module')
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos with truth."""
    folder = tmp_path_factory.mktemp('videos')
    for number in range(2):
        corners = [(10 + 5 * number, 6 * i) for i in range(8)]
        clips.write(folder / f'{number}.mp4', corners, (20, 20))
    return folder


@pytest.fixture
def heads(videos: Path, tiny_folder: Path, tmp_path: Path) -> list[str]:
    """Arguments of a run that takes seconds: two heads on a frozen backbone."""
    return [
        *('distil', '--data', str(videos), '--teachers', 'depth,classes'),
        *('--init', str(tiny_folder), '--train', 'heads', '--cache', str(tmp_path / 'kept')),
        *('--steps', '6', '--batch-size', '2', '--learning-rate', '1e-3', '--held-out', '0.25'),
    ]


def weights(folder: Path) -> bytes:
    return (folder / 'model' / 'model.safetensors').read_bytes()


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command and return the one line of its refusal."""
    assert main([*arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ''
    line = said.err.splitlines()[-1]
    assert line.startswith('theia-ros distil: ')
    assert 'Traceback' not in said.err
    return line


def test_a_run_gives_a_model_that_the_encoder_takes(heads, videos, tmp_path, capsys) -> None:
    run = tmp_path / 'run'
    assert main([*heads, '--output', str(run)]) == 0
    said = capsys.readouterr().out
    assert f'{run}/model: learned from 12 pictures' in said
    assert 'on 4 held-out pictures (evaluation.md):' in said
    assert (run / 'evaluation.md').read_text() in said
    config = json.loads((run / 'model' / 'config.json').read_text())
    assert config['classes'] == ['ground', 'a', 'b', 'square']
    with Encoder(EncoderParams(model=str(run / 'model'), backend='torch')) as encoder:
        assert encoder.tensors == ('theia', 'depth', 'classes')
        frame = Frame(np.zeros((96, 128, 3), np.uint8))
        maps = encoder.encode([frame], encoder.maps)[0].maps
    assert set(maps) == {
        'dinov2/image',
        'depth/image',
        'depth/image_color',
        'segmentation/labels',
        'segmentation/image',
    }
    with (run / 'losses.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [row['step'] for row in rows] == [str(i) for i in range(1, 7)]
    assert set(rows[0]) == {'step', 'learning_rate', 'loss', 'depth/l1', 'classes/ce'}
    for row in rows:
        mean = (float(row['depth/l1']) + float(row['classes/ce'])) / 2
        assert float(row['loss']) == pytest.approx(mean, abs=1e-6)
    with Image.open(run / 'losses.png') as picture:
        assert picture.width > 500


def test_it_learns_and_beats_what_is_had_for_nothing(heads, tmp_path, capsys) -> None:
    run = tmp_path / 'run'
    assert main([*heads, '--steps', '60', '--output', str(run)]) == 0
    figures = json.loads((run / 'evaluation.json').read_text())['figures']
    assert list(figures) == [
        'the model',
        'linear on its backbone',
        'linear on a random backbone',
        'linear on raw pixels',
    ]
    model = figures['the model']
    assert model['classes miou'] > 0.6
    assert model['depth abs_rel'] < 0.15
    assert model['depth delta_1.25'] > 0.8
    # The same command again trains no more, and finds the same figures.
    before = weights(run)
    assert main([*heads, '--steps', '60', '--output', str(run)]) == 0
    assert json.loads((run / 'evaluation.json').read_text())['figures'] == figures
    assert weights(run) == before


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_bits(heads, tmp_path, capsys) -> None:
    """Killed as by the system, at a moment that nobody chose, and twice."""
    command = [*heads, '--steps', '24', '--save-every', '2']
    assert main([*command, '--output', str(tmp_path / 'whole')]) == 0
    run = tmp_path / 'killed'
    environment = os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)}
    for least in (2, 8):
        process = subprocess.Popen(
            [sys.executable, '-m', 'theia_ros.cli', *command, '--output', str(run)],
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        while steps_of(run) < least:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert 8 <= steps_of(run) < 24
    assert main([*command, '--output', str(run)]) == 0
    whole = tmp_path / 'whole'
    assert weights(run) == weights(whole)
    assert (run / 'losses.csv').read_bytes() == (whole / 'losses.csv').read_bytes()
    assert (run / 'evaluation.json').read_bytes() == (whole / 'evaluation.json').read_bytes()
    # What a longer run would go on with: weights, momenta, random numbers.
    ours, theirs = (load_file(folder / 'state.safetensors') for folder in (run, whole))
    assert ours.keys() == theirs.keys()
    assert {'rng/cpu', 'optimizer/0/exp_avg_sq', 'model/heads.depth.1.weight'} <= ours.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert not list(run.rglob('*.part'))


def steps_of(run: Path) -> int:
    try:
        with safe_open(run / 'state.safetensors', framework='pt') as file:
            return int(file.metadata()['step'])
    except FileNotFoundError:
        return 0


@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
def test_a_whole_student_goes_on_with_the_same_bits(precision, videos, tmp_path, capsys) -> None:
    """With accumulation, and stopped between two updates by an exception in the middle."""
    command = [
        *('distil', '--data', str(videos), '--teachers', 'depth'),
        *('--cache', str(tmp_path / 'kept')),
        *('--steps', '3', '--batch-size', '1', '--accumulate', '2', '--held-out', '0'),
        *('--precision', precision, '--schedule', 'cosine', '--save-every', '1'),
    ]
    assert main([*command, '--output', str(tmp_path / 'whole')]) == 0
    run = tmp_path / 'stopped'
    with pytest.MonkeyPatch.context() as patch:
        from theia_ros.distil import train

        honest, calls = train.losses_of, []

        def stop(*arguments: object) -> object:
            calls.append(1)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return honest(*arguments)

        patch.setattr(train, 'losses_of', stop)
        assert main([*command, '--output', str(run)]) == 130
    assert steps_of(run) == 1
    assert main([*command, '--output', str(run)]) == 0
    assert weights(run) == weights(tmp_path / 'whole')
    began = load_file(run / 'model' / 'model.safetensors')
    assert not (run / 'evaluation.md').exists()
    assert all(tensor.isfinite().all() for tensor in began.values())


def test_another_run_is_not_overwritten(heads, tmp_path, capsys) -> None:
    run = str(tmp_path / 'run')
    assert main([*heads, '--steps', '1', '--output', run]) == 0
    before = weights(Path(run))
    capsys.readouterr()
    assert 'steps was 1 and is 2; name another folder' in refused(
        capsys, *heads, '--steps', '2', '--output', run
    )
    assert weights(Path(run)) == before
    # One that ended before its first checkpoint has nothing to lose.
    shutil.rmtree(Path(run) / 'model')
    (Path(run) / 'state.safetensors').unlink()
    assert main([*heads, '--steps', '2', '--output', run]) == 0
    assert steps_of(Path(run)) == 2


def test_broken_pictures_are_skipped_and_told(heads, videos, tmp_path, capsys) -> None:
    folder = tmp_path / 'mixed'
    shutil.copytree(videos, folder)
    (folder / 'a.png').write_text('no picture')
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(noise).save(folder / 'b.png')
    (folder / 'c.png').write_bytes((folder / 'b.png').read_bytes()[:2000])
    arguments = [folder if a == str(videos) else a for a in heads]
    run = tmp_path / 'run'
    assert main([*map(str, arguments), '--steps', '1', '--output', str(run)]) == 0
    said = capsys.readouterr().err
    assert 'skipped 1 (format), which could not be read' in said
    assert 'skipped 1 (decode), which could not be read' in said


def test_mistakes_are_one_line(videos, photo, tmp_path, capsys) -> None:
    data, out = ('--data', str(videos)), ('--output', str(tmp_path / 'run'))
    kept = ('--cache', str(tmp_path / 'kept'))
    file = tmp_path / 'file'
    file.write_text('')
    truth = ('--teachers', 'depth')
    for arguments, said in (
        (['--data', '/nowhere', *truth, *out], '/nowhere: no such file or folder'),
        ([*data, '--teachers', 'magic', *out], "unknown teacher 'magic'; known: vit"),
        ([*data, '--teachers', ',', *out], '--teachers names none'),
        ([*data, *truth, *out, '--init', 'theia-huge'], "unknown model 'theia-huge'"),
        ([*data, *truth, *out, '--train', 'heads'], 'name it by --init'),
        ([*data, *truth, *out, '--epochs', '-1'], '--epochs is -1.0'),
        ([*data, *truth, *out, '--rate', '0'], '--rate is 0.0; use more than 0'),
        ([*data, *truth, *out, '--save-every', '0'], '--save-every is 0'),
        ([*data, *truth, *out, '--device', 'cuda:9'], "device 'cuda:9' is not there"),
        ([*data, *truth, *out, '--precision', 'fp16'], 'fp16 needs a GPU; use bf16 or fp32'),
        (
            ['--data', str(photo), *truth, *out, '--held-out', '0'],
            'no video has one beside it: NAME_truth.npz',
        ),
        ([*data, *truth, '--output', str(file)], f'{file}/run.json cannot be written'),
        ([*data, '--teachers', 'clip=/nowhere', *out], '--teachers clip=/nowhere: no such folder'),
    ):
        assert said in refused(capsys, 'distil', *arguments, *kept)
    assert not (tmp_path / 'run').exists()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / 'photo.png'
    Image.new('RGB', (32, 24), (200, 100, 50)).save(path)
    return path


def test_a_full_disk_is_one_line_and_the_run_goes_on(heads, tmp_path) -> None:
    """The limit lets pictures and targets through, and not the weights."""
    command = [*heads, '--output', str(tmp_path / 'run'), '--steps', '1']
    code = (
        'import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);'
        'resource.setrlimit(resource.RLIMIT_FSIZE, (10_000_000, 10_000_000));'
        'from theia_ros.cli import main; sys.exit(main())'
    )
    done = subprocess.run([sys.executable, '-c', code, *command], capture_output=True, text=True)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert re.fullmatch(
        r'theia-ros distil: \S+model\.safetensors cannot be written: File too large; what is '
        'finished is kept, and the same command goes on from there',
        last,
    )
    assert not list(tmp_path.rglob('*.part'))
    assert main(command) == 0


def test_a_loss_that_is_no_number_is_told(heads, tmp_path, capsys) -> None:
    line = refused(
        capsys, *heads, '--learning-rate', '1e30', '--warmup', '0', '--output', str(tmp_path / 'r')
    )
    assert re.search(r'the loss of step \d is (nan|inf); give a lower --learning-rate', line)


def test_too_little_memory_is_told(heads, tmp_path, capsys, monkeypatch) -> None:
    from theia_ros.distil import distil

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError('CUDA out of memory')

    monkeypatch.setattr(distil, 'train', full)
    line = refused(capsys, *heads, '--output', str(tmp_path / 'r'))
    assert 'cpu has too little memory for 2 pictures at once; give a lower --batch-size' in line


def test_help_has_examples_and_needs_no_torch() -> None:
    code = (
        'import sys\nfrom theia_ros.cli import main\n'
        'try:\n    main(["distil", "--help"])\n'
        'finally:\n    assert "torch" not in sys.modules'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'theia-ros distil --data photos/ --teachers dinov2_small --output runs/mine' in (
        done.stdout
    )
    for option in ('--init', '--schedule', '--accumulate', '--held-out-data', '--precision'):
        assert option in done.stdout
