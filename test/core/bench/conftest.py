"""A small model, documents of small runs, and an engine that gives wrong numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import synthetic

from theia_ros import engine
from theia_ros.cli import main
from theia_ros.params import EncoderParams


class Spoilt:
    """A real engine whose numbers are changed on the way out."""

    def __init__(self, inner, change):
        self._inner, self._change = inner, change

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def infer(self, pixels, tensors):
        return {k: self._change(k, v) for k, v in self._inner.infer(pixels, tensors).items()}


@pytest.fixture(scope='session')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a tiny model with one head."""
    return synthetic.write_model(tmp_path_factory.mktemp('bench') / 'tiny', teachers=['clip'])


@pytest.fixture(scope='session')
def params(folder: Path) -> EncoderParams:
    """Of the model on the CPU, where the eager float32 engine is compared with no reference."""
    return EncoderParams(model=str(folder), device='cpu', backend='torch', precision='fp32')


@pytest.fixture
def measured(tmp_path: Path):
    """Run the command with some arguments, and return its document."""

    def refuse(word):
        raise AssertionError(f'{word} is no JSON')

    def run(*arguments: str) -> dict:
        out = tmp_path / 'out.json'
        assert main(['bench', *arguments, '--json', str(out)]) == 0
        return json.loads(out.read_text(), parse_constant=refuse)

    return run


@pytest.fixture
def spoil():
    """Let the backend `torch` give wrong numbers until the end of the test."""
    with pytest.MonkeyPatch.context() as patch:
        real = engine.BACKENDS['torch']

        def spoil(change):
            def opener(*args):
                return Spoilt(real(*args), change)

            patch.setitem(engine.BACKENDS, 'torch', opener)

        yield spoil
