from __future__ import annotations

import math
import shlex
from pathlib import Path

import pytest
from core.doctor.conftest import failed
from core.doctor.conftest import with_gpu

from theia_ros.doctor import engine
from theia_ros.doctor.facts import Request
from theia_ros.doctor.finding import Level

GOOD = {
    'cosine': 0.99999999,
    'cosine_limit': 0.999999,
    'max_abs_error': 2.4e-05,
    'error_limit': 0.011,
    'good': True,
}
CHOICE = {'backend': 'openvino', 'device': 'cpu (2 threads)', 'why': 'the device is the CPU'}
OPENED = {
    'refused': '',
    'parity': {'theia': GOOD},
    'backend': 'openvino',
    'precision': 'fp32',
    'device': 'cpu (2 threads)',
    'fell_back': '',
    'open_s': 1.06,
}


@pytest.fixture
def made(facts, tmp_path: Path):
    """Return a function that makes facts of a model that is there."""

    def make(opened=OPENED, **changes):
        known = {'choice': CHOICE, 'model': {}, 'engine': opened, **changes.pop('answers', {})}
        given = {'model': str(tmp_path), **changes.pop('given', {})}
        return facts(known, request=Request(given, **changes))

    return make


def test_the_choice_says_why(made) -> None:
    (finding,) = engine.choice(made())
    assert finding.level is Level.OK
    assert finding.found == 'openvino on cpu (2 threads), chosen by auto: the device is the CPU'
    (finding,) = engine.choice(made(given={'backend': 'openvino'}))
    assert finding.found == 'openvino on cpu (2 threads)'


def test_a_device_that_is_not_there(made) -> None:
    wrong = "device 'cuda:9' is not there; use one of auto, cpu"
    (finding,) = engine.choice(made(answers={'choice': failed(wrong)}))
    assert (finding.level, finding.wrong) == (Level.ERROR, wrong)


def test_an_engine_that_is_right(made) -> None:
    opened, parity = engine.parity(made())
    assert opened.found == 'openvino fp32 on cpu (2 threads), opened in 1.1 s'
    assert (parity.name, parity.level) == ('parity theia', Level.OK)
    assert parity.found == (
        'cosine 1.0000000 (at least 0.999999), largest error 2.4e-05 (at most 0.011)'
    )
    assert parity.figures == GOOD


def test_an_engine_that_is_refused(made, tmp_path: Path) -> None:
    bad = {**GOOD, 'cosine': math.nan, 'max_abs_error': math.nan, 'good': False}
    refused = {
        'refused': 'parity: clip of the openvino engine differs; use another, or fall back',
        'parity': {'theia': GOOD, 'clip': bad},
    }
    cache = tmp_path / 'engines'
    given = {'engine_cache': str(cache), 'backend': 'openvino'}
    opened, theia, clip = engine.parity(made(refused, given=given))
    assert opened.level is Level.ERROR
    assert opened.wrong == 'parity: clip of the openvino engine differs'
    assert opened.cures == (
        f'rm {cache}/*.engine && theia-ros build-engine --model {tmp_path} --backend openvino',
        f'theia-ros doctor --model {tmp_path} --backend torch --precision fp32',
    )
    assert (theia.level, clip.level) == (Level.OK, Level.ERROR)
    assert clip.found.startswith('cosine nan (at least 0.999999), largest error nan')


def test_a_fall_back_is_a_warning(made) -> None:
    note = 'fell back to torch fp32, which is slow: parity: clip differs'
    opened, _ = engine.parity(made({**OPENED, 'fell_back': note}))
    assert (opened.level, opened.wrong) == (Level.WARNING, note)


def test_an_engine_that_cannot_be_opened(made) -> None:
    (finding,) = engine.parity(made(failed('it crashed with SIGSEGV')))
    assert (finding.level, finding.wrong) == (Level.ERROR, 'it crashed with SIGSEGV')
    assert finding.cures[0].endswith('--backend torch --precision fp32')


def test_what_is_not_opened(made) -> None:
    (finding,) = engine.parity(made(open_engine=False))
    assert (finding.level, finding.found) == (Level.OK, 'not opened (--no-engine)')
    wrong_file = {'node': failed('unknown parameter')}
    (finding,) = engine.parity(made(params_file=Path('x.yaml'), answers=wrong_file))
    assert (finding.level, finding.found) == (Level.WARNING, 'not opened')
    assert list(engine.parity(made(answers={'model': failed('damaged')}))) == []
    assert list(engine.parity(made(given={'model': '/no/such/folder'}))) == []


def test_parameters_of_the_file_count_and_those_given_by_hand_win(made, tmp_path: Path) -> None:
    params = {'max_batch': 3, 'precision': 'bf16', 'cameras': ['a', 'b']}
    params['image_topics'] = ['/a', '/b']
    node = {'params': params, 'given': ['max_batch']}
    facts = made(params_file=Path('x.yaml'), answers={'node': node}, given={'precision': 'fp16'})
    assert facts.params.cameras == ('a', 'b')
    assert facts.encoder_params['max_batch'] == 3
    assert facts.encoder_params['precision'] == 'fp16'
    assert facts.encoder_params['model'] == str(tmp_path)


@pytest.mark.parametrize(
    ('torch', 'openvino', 'level', 'text'),
    [
        ({}, {'version': '2026.4', 'precisions': ['fp32', 'bf16']}, Level.OK, 'in fp32, bf16'),
        ({}, failed("ModuleNotFoundError: No module named 'openvino'"), Level.WARNING, 'not inst'),
        ({}, failed('it crashed with SIGILL'), Level.WARNING, 'broken: it crashed with SIGILL'),
    ],
)
def test_openvino(torch, openvino, level, text, made) -> None:
    (finding,) = engine.openvino(made(answers={'openvino': openvino}))
    assert (finding.level, text in finding.found) == (level, True)


def test_openvino_is_not_looked_at_beside_a_gpu(made) -> None:
    assert list(engine.openvino(made(answers={'torch': with_gpu()}))) == []


def test_cures_can_be_pasted_whatever_a_folder_is_called(made, tmp_path: Path) -> None:
    strange = tmp_path / "a model's"
    strange.mkdir()
    facts = made(failed('it crashed with SIGSEGV'), given={'model': str(strange)})
    (finding,) = engine.parity(facts)
    words = shlex.split(finding.cures[0])
    assert words[words.index('--model') + 1] == str(strange)
