from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import synthetic
from PIL import Image

from theia_ros.cli import main

RULE = synthetic.golden_rule
ENCODER = synthetic.goldens('tiny_encoder')
HEADS = synthetic.goldens('tiny_heads')


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    paths = []
    for name in ('noise_224', 'scene_480x640', 'scene_96x128'):
        Image.fromarray(RULE.image(name)).save(tmp_path / f'{name}.png')
        paths.append(str(tmp_path / f'{name}.png'))
    return paths


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run `theia-ros encode` and return the one line of its refusal."""
    assert main(['encode', *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ''
    assert said.err.startswith('theia-ros encode: ')
    assert said.err.count('\n') == 1
    return said.err


def test_the_file_holds_the_numbers_of_the_published_code(
    photos, tiny_folder: Path, tmp_path: Path, capsys
) -> None:
    out = tmp_path / 'out.npz'
    arguments = [*photos, '--model', str(tiny_folder), '--output', str(out)]
    assert main(['encode', *arguments, '--tensors', 'theia,dinov2', '--batch-size', '2']) == 0
    assert capsys.readouterr().out == f'{out}: theia (3, 196, 192), dinov2 (3, 256, 1024)\n'
    with np.load(out) as arrays:
        assert set(arrays) == {'theia', 'dinov2'}
        assert arrays['theia'].dtype == arrays['dinov2'].dtype == np.float32
        for i, path in enumerate(photos):
            golden = ENCODER[f'tokens/{Path(path).stem}'][1:]
            np.testing.assert_allclose(arrays['theia'][i], golden, rtol=0, atol=1e-5)
        golden = HEADS['scene_480x640/facebook/dinov2-large/rows']
        np.testing.assert_allclose(arrays['dinov2'][1][::16], golden, rtol=0, atol=5e-5)


@pytest.mark.parametrize(
    ('reduction', 'golden'), [('mean', 'mean_pooling'), ('max', 'max_pooling'), ('cls', 'cls')]
)
def test_reductions_are_those_of_the_published_code(
    photos, tiny_folder: Path, tmp_path: Path, reduction, golden
) -> None:
    out = tmp_path / 'out.npz'
    arguments = [photos[0], '--model', str(tiny_folder), '--output', str(out)]
    assert main(['encode', *arguments, '--reduce', reduction]) == 0
    with np.load(out) as arrays:
        assert arrays['theia'].shape == (1, 1, 192)
        expected = ENCODER[f'reduce/{golden}/noise_224']
        np.testing.assert_allclose(arrays['theia'][0, 0], expected, rtol=0, atol=1e-5)


def test_identity_keeps_cls(photos, tiny_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / 'out.npz'
    arguments = [photos[0], '--model', str(tiny_folder), '--output', str(out)]
    assert main(['encode', *arguments, '--reduce', 'identity']) == 0
    with np.load(out) as arrays:
        golden = ENCODER['tokens/noise_224']
        np.testing.assert_allclose(arrays['theia'][0], golden, rtol=0, atol=1e-5)


def test_mistakes_are_one_line(photos, tiny_folder: Path, tmp_path: Path, capsys) -> None:
    model, out = ['--model', str(tiny_folder)], ['--output', str(tmp_path / 'out.npz')]
    text = tmp_path / 'notes.png'
    text.write_text('no picture')
    broken = tmp_path / 'broken.png'
    broken.write_bytes(Path(photos[1]).read_bytes()[:3000])
    elsewhere = ['--output', str(tmp_path / 'nowhere' / 'out.npz')]
    for arguments, said in (
        ([str(text), *model, *out], f'{text} is no image'),
        ([str(broken), *model, *out], f'{broken} cannot be decoded'),
        (['absent.png', *model, *out], 'absent.png: no such file'),
        ([str(tmp_path), *model, *out], f'{tmp_path}: no such file'),
        ([photos[0], '--model', 'theia-huge', *out], "unknown model 'theia-huge'"),
        ([photos[0], '--model', '', *out], "unknown model ''"),
        ([photos[0], '--model', 'theia-tiny-patch16-224-cdiv', *out], 'run: theia-ros fetch'),
        ([photos[0], *model, *elsewhere], 'does not exist'),
        ([photos[0], *model, '--output', str(tmp_path)], f'{tmp_path} is a folder; name a file'),
        ([photos[0], *model, *out, '--tensors', 'deep'], "has no tensor 'deep'; it has theia"),
        ([photos[0], *model, *out, '--tensors', 'dinov2/image'], "no tensor 'dinov2/image'"),
        ([photos[0], *model, *out, '--tensors', ','], '--tensors names none'),
        ([photos[0], *model, *out, '--tensors', 'theia,theia'], '--tensors names one twice'),
        ([photos[0], *model, *out, '--batch-size', '0'], '--batch-size is 0; use 1 or more'),
        ([photos[0], *model, *out, '--device', 'cuda:9'], "device 'cuda:9' is not there"),
        ([*photos, *model, *out, '--preprocessing', 'native'], 'one size, found'),
    ):
        assert said in refused(capsys, *arguments)
        assert not (tmp_path / 'out.npz').exists()


@pytest.mark.parametrize(
    'arguments',
    [['--reduce', 'sum'], ['--precision', 'int8'], ['--backend', 'magic'], ['--colour']],
    ids=lambda a: a[0],
)
def test_unknown_choices_end_with_status_2(arguments, photos, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(['encode', *photos, '--model', 'x', '--output', 'y.npz', *arguments])
    assert caught.value.code == 2
    assert arguments[-1] in capsys.readouterr().err


def test_a_full_disk_leaves_no_file(photos, tiny_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / 'out.npz'
    code = (
        'import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);'
        'resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));'
        'from theia_ros.cli import main; sys.exit(main())'
    )
    done = subprocess.run(
        [sys.executable, '-c', code, 'encode', photos[0], '--model', tiny_folder, '--output', out],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert f'theia-ros encode: {out} cannot be written: File too large\n' == done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(Path(p).name for p in photos)


def test_ctrl_c_is_one_line_and_leaves_no_file(tiny_folder: Path, tmp_path: Path) -> None:
    Image.fromarray(RULE.image('gray_224')).save(tmp_path / 'a.png')
    arguments = ['--model', str(tiny_folder), '--output', 'out.npz']
    process = subprocess.Popen(
        [sys.executable, '-m', 'theia_ros.cli', 'encode', *['a.png'] * 2000, *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)},
    )
    # Its progress shows that it is at work.
    first = process.stderr.read(1)
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (first + rest).endswith('theia-ros encode: stopped\n')
    assert 'Traceback' not in rest
    assert [p.name for p in tmp_path.iterdir()] == ['a.png']


def test_help_has_examples_and_needs_no_torch(capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(['encode', '--help'])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert 'theia-ros encode photo.jpg --model demo-dinov2-small --output features.npz' in text
    for option in ('--tensors', '--reduce', '--backend', '--precision', '--preprocessing'):
        assert option in text
