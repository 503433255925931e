"""`theia-ros bench`: what it refuses. What it measures is tested in `test/core/bench`."""

from __future__ import annotations

import sys

import pytest

from theia_ros.cli import main


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['--backends', 'torch,onnx'], "--backends is 'torch,onnx'; use auto, "),
        (['--precisions', 'int8'], "--precisions is 'int8'; use auto, fp32, fp16, bf16"),
        (['--batches', '0'], "--batches is '0'; use numbers from 1 to 64"),
        (['--batches', '1,,2'], "--batches is '1,,2'; use numbers"),
        (['--image-size', '640'], "--image-size is '640'; use width and height such as 640x480"),
        (
            ['--image-size', '640x9999'],
            "--image-size is '640x9999'; use width and height such as 640x480, each from 16 "
            'to 8192',
        ),
        (['--json', '/tmp'], '--json /tmp is a folder; name a file'),
        (['--rounds', '0'], '--rounds is 0; use 1 or more'),
        (['--seconds', '0'], '--seconds is 0.0; use more than 0'),
        (['--seconds', 'nan'], '--seconds is nan; use more than 0'),
        (['--json', '/no/such/folder/a.json'], '--json /no/such/folder/a.json: its folder is not'),
        (['--plot', 'plot.bmp'], '--plot plot.bmp: use .png, .svg, .pdf'),
        (['--model', 'no-such-model'], "unknown model 'no-such-model'"),
        (['--ros', '--cameras', 'two'], "--cameras is 'two'; use numbers from 1 to 64"),
        (['--ros', '--rates', '30,-1'], "--rates is '30,-1'; use numbers from above 0 to 1000"),
        (['--ros', '--rates', 'inf'], "--rates is 'inf'; use numbers"),
    ],
)
def test_a_mistake_gives_one_line(arguments, says, capsys) -> None:
    assert main(['bench', *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ''
    assert said.err.startswith(f'theia-ros bench: {says}')
    assert said.err.count('\n') == 1


def test_without_matplotlib_nothing_is_measured_in_vain(monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, 'matplotlib.pyplot', None)
    assert main(['bench', '--plot', 'a.png']) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        'theia-ros bench: --plot needs matplotlib (import of matplotlib.pyplot '
    )
    assert said.endswith("); run: pip install 'theia_ros[bench]'\n")
    assert said.count('\n') == 1
