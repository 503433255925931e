"""`theia-ros bench`: what it refuses, what it computes, and small real runs. No time is judged."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from helpers import synthetic

from theia_ros import engine
from theia_ros.bench import report
from theia_ros.bench.baseline import Baseline
from theia_ros.bench.baseline import published_input
from theia_ros.bench.contenders import Contender
from theia_ros.bench.contenders import open_contender
from theia_ros.bench.equality import check
from theia_ros.bench.equality import Distance
from theia_ros.bench.equality import distance
from theia_ros.bench.equality import verdict
from theia_ros.bench.pictures import make_frames
from theia_ros.bench.ros_figures import busy_part
from theia_ros.bench.ros_figures import mean_steps
from theia_ros.bench.ros_figures import Received
from theia_ros.bench.ros_figures import summary
from theia_ros.bench.rounds import compare_with_single
from theia_ros.bench.rounds import rows
from theia_ros.bench.rounds import spread
from theia_ros.cli import main
from theia_ros.encoder import Encoder
from theia_ros.errors import EngineError
from theia_ros.params import EncoderParams
from theia_ros.preprocess import NORMALISED
from theia_ros.preprocess import prepare

# On the CPU, where the eager float32 engine is not itself compared with a reference.
QUICK = ('--rounds', '1', '--image-size', '96x64', '--device', 'cpu')


class Spoilt:
    """A real engine whose numbers are changed on the way out."""

    def __init__(self, inner, change):
        self._inner, self._change = inner, change

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def infer(self, pixels, tensors):
        return {k: self._change(k, v) for k, v in self._inner.infer(pixels, tensors).items()}


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    return synthetic.write_model(tmp_path_factory.mktemp('bench') / 'tiny', teachers=['clip'])


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


FRAMES = make_frames(2, (32, 48))


def tiny(folder: Path, **values: str) -> EncoderParams:
    given = {'device': 'cpu', **values}
    return EncoderParams(model=str(folder), backend='torch', precision='fp32', **given)


def measured(tmp_path: Path, *arguments: str) -> dict:
    """Run the command and return its document."""
    out = tmp_path / 'out.json'
    assert main(['bench', *arguments, '--json', str(out)]) == 0

    def refuse(word):
        raise AssertionError(f'{word} is no JSON')

    return json.loads(out.read_text(), parse_constant=refuse)


# --- the baseline --------------------------------------------------------------------------------


@pytest.mark.parametrize('image_hw', [(480, 640), (224, 224), (75, 99), (640, 100)])
def test_the_baseline_gives_the_model_the_same_bits(image_hw) -> None:
    frames = make_frames(2, image_hw)
    expected = [published_input(frame.rgb) for frame in frames]
    pixels = prepare([frame.rgb for frame in frames], 'official')
    ours = NORMALISED[pixels].transpose(0, 3, 1, 2)  # what the model begins with
    np.testing.assert_array_equal(ours, np.stack(expected))


def test_the_baseline_equals_the_encoder(folder: Path) -> None:
    frames = make_frames(2, (48, 80))
    found, step_ms = Baseline(tiny(folder)).run(frames, ['theia', 'clip'])
    with Encoder(tiny(folder)) as encoder:
        expected = encoder.encode(frames, ['theia', 'clip'])
    assert list(step_ms) == ['preprocess', 'compute', 'copy_back']
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.keys() == theirs.features.keys()
        for name, tokens in mine.items():
            np.testing.assert_allclose(tokens, theirs.features[name].tokens, rtol=0, atol=1e-5)


def test_others_are_compared_with_true_float32(folder: Path, monkeypatch) -> None:
    baseline, allowed = Baseline(tiny(folder)), []

    def run(*_: object) -> object:
        allowed.append(torch.backends.cudnn.allow_tf32)
        return ['tensors'], {}

    monkeypatch.setattr(baseline, 'run', run)
    before = torch.backends.cudnn.allow_tf32
    assert baseline.expected(FRAMES, ['theia']) == ['tensors']
    assert (allowed, torch.backends.cudnn.allow_tf32) == ([False], before)


def test_the_baseline_gives_only_what_is_asked_for(folder: Path) -> None:
    (found,), _ = Baseline(tiny(folder)).run(make_frames(1, (32, 32)), ['clip'])
    assert list(found) == ['clip']


def test_a_device_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(EngineError, match=r"^device 'cuda:99' cannot be used: "):
        Baseline(tiny(folder, device='cuda:99'))


# --- equality ------------------------------------------------------------------------------------


def test_distance_of_known_tokens() -> None:
    expected = np.array([[3.0, 4.0], [0.0, 2.0]], np.float32)
    found = np.array([[3.0, 4.0], [2.0, 0.0]], np.float32)
    assert distance(expected, expected) == Distance(1.0, 0.0, 0.0)
    measured = distance(found, expected)
    assert measured.cosine == 0.0
    assert measured.relative_error == pytest.approx(math.sqrt(8 / 29))
    assert measured.max_abs_error == 2.0


@pytest.mark.parametrize(
    ('found', 'precision', 'says'),
    [
        pytest.param(Distance(1, 9e-5, 9), 'fp32', '', id='fp32'),
        pytest.param(Distance(1, 2e-4, 0), 'fp32', 'relative error 2.0e-04', id='fp32 far'),
        pytest.param(Distance(1, 2e-4, 0), 'fp16', '', id='fp16'),
        pytest.param(Distance(1, 0.011, 0), 'bf16', 'relative error 1.1e-02', id='bf16 far'),
        pytest.param(Distance(0.998, 0, 0), 'bf16', 'cosine of a token 0.99800', id='one token'),
        pytest.param(Distance(math.nan, math.nan, math.nan), 'fp16', 'nan', id='not a number'),
    ],
)
def test_verdict(found, precision, says) -> None:
    said = verdict(found, precision)
    assert says in said if says else not said


CHANGES = {
    'scaled': lambda name, tensor: tensor * 1.001,
    'one token lost': lambda name, tensor: tensor * (torch.arange(tensor.shape[1]) != 5)[:, None],
    'shifted rows': lambda name, tensor: tensor.roll(1, 1),
    'not a number': lambda name, tensor: tensor * float('nan'),
    'infinite': lambda name, tensor: tensor / 0,
    'one head only': lambda name, tensor: tensor * (1.01 if name == 'clip' else 1),
}


@pytest.fixture(scope='module')
def expected(folder: Path) -> list:
    found, _ = Baseline(tiny(folder)).run(FRAMES, ['theia', 'clip'])
    return found


def checked(folder: Path, expected: list) -> tuple[str, Contender]:
    """Return what the comparison of a contender with the baseline says."""
    contender = open_contender(tiny(folder))
    said = check(contender, expected, FRAMES, ['theia', 'clip'])
    contender.close()
    return said, contender


def test_right_numbers_are_equal(folder: Path, expected) -> None:
    said, contender = checked(folder, expected)
    assert said == ''
    assert set(contender.errors) == {'theia', 'clip'}


@pytest.mark.parametrize('change', CHANGES)
def test_wrong_numbers_are_refused(change, spoil, folder: Path, expected) -> None:
    spoil(CHANGES[change])
    said, _ = checked(folder, expected)
    tensor = 'clip' if change == 'one head only' else 'theia'
    assert said.startswith(f'{tensor}, batch 2: ')


def test_another_shape_is_refused(spoil, folder: Path, expected) -> None:
    spoil(lambda name, tensor: tensor[:, :-1])
    said, _ = checked(folder, expected)
    assert said == 'theia is (2, 195, 192), not (2, 196, 192)'


def test_the_worst_of_all_checks_is_kept(folder: Path, expected) -> None:
    contender = open_contender(tiny(folder))
    contender.errors['theia'] = {'cosine': 0.5, 'relative_error': 0.25, 'max_abs_error': math.nan}
    check(contender, expected, FRAMES, ['theia', 'clip'])
    kept = contender.errors['theia']
    assert (kept['cosine'], kept['relative_error']) == (0.5, 0.25)
    assert math.isnan(kept['max_abs_error'])
    contender.close()


def test_a_wrong_head_costs_only_the_outputs_with_it(spoil, folder: Path, tmp_path) -> None:
    def wrong(name, tensor):
        return tensor * 1.01 if name == 'clip' else tensor

    spoil(wrong)
    arguments = ('--model', str(folder), '--backends', 'torch', '--precisions', 'fp32')
    cases = ('--batches', '1', '--tensors', 'theia', 'all')
    document = measured(tmp_path, *arguments, *cases, *QUICK)
    one = document['contenders'][1]
    assert one['state'] == 'not equal'
    assert one['reason'].startswith('clip, batch 1: relative error 1.0e-02')
    timed = [(row['outputs'], row['contender']) for row in document['rows']]
    assert timed == [('theia', 'baseline'), ('theia', 'torch fp32'), ('all', 'baseline')]


def test_who_fails_is_dropped(spoil, folder: Path, tmp_path) -> None:
    def fail(name, tensor):
        if len(tensor) == 2:
            raise EngineError('out of memory')
        return tensor

    spoil(fail)
    arguments = ('--model', str(folder), '--backends', 'torch', '--precisions', 'fp32')
    document = measured(tmp_path, *arguments, '--batches', '1,2', *QUICK)
    one = document['contenders'][1]
    assert (one['state'], one['reason']) == ('failed', 'out of memory')
    assert {row['contender'] for row in document['rows']} == {'baseline'}


def test_who_is_not_equal_or_not_there_is_told_and_not_timed(
    spoil, folder: Path, tmp_path, capsys
) -> None:
    def missing(*_):
        raise EngineError('backend openvino is not installed')

    spoil(CHANGES['scaled'])
    arguments = ('--model', str(folder), '--backends', 'fake,openvino,torch', '--batches', '1')
    with mock.patch.dict(engine.BACKENDS, openvino=missing):
        document = measured(tmp_path, *arguments, '--precisions', 'fp32,auto', *QUICK)
    states = {c['name']: c['state'] for c in document['contenders']}
    assert states == {
        'baseline': 'equal',
        'fake fp32': 'not equal',  # once: what auto gives is the same
        'openvino fp32': 'not available',
        'openvino auto': 'not available',
        'torch fp32': 'not equal',
    }
    assert all(c['fresh'] == {} for c in document['contenders'][1:])
    assert [row['contender'] for row in document['rows']] == ['baseline']
    out = capsys.readouterr().out
    assert 'openvino fp32, openvino auto: backend openvino is not installed\n' in out
    assert 'torch fp32: theia, batch 1: relative error 1.0e-03, at most 1e-04\n' in out


# --- statistics ----------------------------------------------------------------------------------


def test_spread_of_known_samples() -> None:
    figures = spread([float(ms) for ms in range(101)])
    assert figures == {'count': 101, 'p50_ms': 50, 'p95_ms': 95, 'p99_ms': 99, 'max_ms': 100}


def test_rows_of_known_samples() -> None:
    samples = {
        'slow': [{'features': ms, 'compute': ms - 1} for ms in (8.0, 10.0, 90.0)],
        'fast': [{'features': ms, 'compute': ms - 1, 'message': 1.0} for ms in (4.0, 5.0, 6.0)],
    }
    slow, fast = rows(samples, 'slow', batch=2, outputs='theia')
    assert (slow['times_baseline'], fast['times_baseline']) == (1.0, 2.0)
    assert (slow['pictures_per_s'], fast['pictures_per_s']) == (200.0, 400.0)
    assert fast['features']['p50_ms'] == 5.0
    assert fast['steps']['compute']['max_ms'] == 5.0
    assert (list(slow['steps']), list(fast['steps'])) == (['compute'], ['compute', 'message'])


def test_throughput_is_compared_with_one_picture_of_the_baseline() -> None:
    def row(contender, batch, outputs, pictures_per_s):
        return {
            'contender': contender,
            'batch': batch,
            'outputs': outputs,
            'pictures_per_s': pictures_per_s,
        }

    table = [
        row('baseline', 1, 'theia', 10.0),
        row('torch fp16', 8, 'theia', 45.0),
        row('torch fp16', 8, 'all', 45.0),
    ]
    compare_with_single(table, 'baseline')
    found = [r['throughput_times_single_baseline'] for r in table]
    assert found == [1.0, 4.5, None]


def test_pictures_are_the_same_each_time_and_all_different() -> None:
    first, second = make_frames(4, (30, 50)), make_frames(4, (30, 50))
    for a, b in zip(first, second, strict=True):
        assert a.image_hw == (30, 50)
        np.testing.assert_array_equal(a.rgb, b.rgb)
    assert len({frame.rgb.tobytes() for frame in first}) == 4


def test_table_is_aligned() -> None:
    found = report.table([('NAME', 'ms'), ('a', '1.5'), ('long name', '10.25')])
    assert found.splitlines() == ['NAME          ms', 'a            1.5', 'long name  10.25']


# --- whole runs ----------------------------------------------------------------------------------

SPREAD = {'count', 'p50_ms', 'p95_ms', 'p99_ms', 'max_ms'}


def test_a_run_from_end_to_end(folder: Path, tmp_path, capsys) -> None:
    arguments = ('--model', str(folder), '--backends', 'torch', '--precisions', 'fp32,auto')
    cases = ('--batches', '1,2', '--tensors', 'theia,clip')
    if importlib.util.find_spec('matplotlib'):
        arguments += ('--plot', str(tmp_path / 'plot.png'))
    document = measured(tmp_path, *arguments, *cases, *QUICK)

    assert (document['schema'], document['kind']) == (1, 'encoder')
    assert document['model'] == folder.name  # a folder's path is nobody's business
    assert str(tmp_path) not in json.dumps(document)
    assert {'date', 'git', 'baseline', 'limits', 'settings'} <= set(document)
    assert {'cpu', 'cores', 'memory_gb', 'gpu', 'torch_threads'} == set(document['hardware'])
    assert {'theia_ros', 'python', 'torch', 'numpy'} <= set(document['versions'])
    assert [len(document['load'][when]) for when in ('before', 'after')] == [3, 3]

    # fp32 and auto are one and the same here.
    assert [c['name'] for c in document['contenders']] == ['baseline', 'torch fp32']
    one = document['contenders'][1]
    assert one['state'] == 'equal'
    assert set(one['errors']) == {'theia', 'clip'}
    for errors in one['errors'].values():
        assert errors['relative_error'] < 1e-4
        assert errors['cosine'] > 0.99999
        assert errors['max_abs_error'] >= 0
    for contender in document['contenders']:
        fresh = contender['fresh']
        assert fresh['startup_s'] > fresh['open_s'] > 0
        assert fresh['peak_mb'] > 50

    cases = [(r['outputs'], r['batch'], r['contender']) for r in document['rows']]
    assert cases == [
        ('theia,clip', batch, contender)
        for batch in (1, 2)
        for contender in ('baseline', 'torch fp32')
    ]
    for row in document['rows']:
        assert set(row['features']) == SPREAD
        assert row['features']['count'] == 1
        assert all(set(figures) == SPREAD for figures in row['steps'].values())
        assert {'preprocess', 'compute', 'copy_back'} <= set(row['steps'])
        assert ('decode' in row['steps']) == (row['contender'] != 'baseline')
        assert row['pictures_per_s'] > 0
        assert row['throughput_times_single_baseline'] > 0
    out = capsys.readouterr().out
    assert 'theia,clip, batch 2, 1 rounds\nCONTENDER' in out
    assert f'wrote {tmp_path / "out.json"}\n' in out
    if importlib.util.find_spec('matplotlib'):
        assert (tmp_path / 'plot.png').read_bytes().startswith(b'\x89PNG')


# --- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['--backends', 'torch,onnx'], "--backends is 'torch,onnx'; use auto, "),
        (['--precisions', 'int8'], "--precisions is 'int8'; use auto, fp32, fp16, bf16"),
        (['--batches', '0'], "--batches is '0'; use numbers from 1 to 64"),
        (['--batches', '1,,2'], "--batches is '1,,2'; use numbers"),
        (['--image-size', '640'], "--image-size is '640'; use width and height such as 640x480"),
        (['--image-size', '640x9999'], "--image-size is '640x9999'; use width and height"),
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


def test_a_tensor_that_the_model_does_not_have(folder: Path, capsys) -> None:
    assert main(['bench', '--model', str(folder), '--tensors', 'theia,owl']) == 2
    assert "has no tensor 'owl'; it has theia, clip" in capsys.readouterr().err


def test_without_matplotlib_nothing_is_measured_in_vain(monkeypatch, capsys) -> None:
    monkeypatch.setattr('theia_ros.bench.plot.find_spec', lambda name: None)
    assert main(['bench', '--plot', 'a.png']) == 2
    said = capsys.readouterr().err
    assert (
        said == "theia-ros bench: --plot needs matplotlib; run: pip install 'theia_ros[bench]'\n"
    )


# --- the node ------------------------------------------------------------------------------------


def test_summary_of_known_features() -> None:
    def came(camera, picture, latency_ms):
        stamp_ns = picture * 100_000_000  # 10 Hz
        return Received(camera, picture, stamp_ns, stamp_ns + latency_ms * 1_000_000)

    # Of each camera pictures 10 to 20; the second one lost 15 and 16.
    received = [came(0, i, 5) for i in range(10, 21)]
    received += [came(1, i, 7) for i in range(10, 21) if i not in (15, 16)]
    figures = summary(received, 2)
    assert figures['seconds'] == 1.0
    assert figures['sent_hz'] == 10.0
    assert figures['features_hz'] == 9.0
    assert figures['lost_part'] == pytest.approx(0.1)
    assert figures['latency'] == {
        'count': 20,
        'p50_ms': 5.0,
        'p95_ms': 7.0,
        'p99_ms': 7.0,
        'max_ms': 7.0,
    }
    nothing = summary([], 1)
    assert (nothing['lost_part'], nothing['sent_hz']) == (1.0, 0.0)


def test_steps_of_cameras_are_averaged_and_the_engine_is_busy() -> None:
    steps = mean_steps(
        {
            ('', 'compute'): {'count': 50, 'p50_ms': 10.0},
            ('a', 'receive_to_publish'): {'count': 40, 'p50_ms': 12.0},
            ('b', 'receive_to_publish'): {'count': 60, 'p50_ms': 14.0},
        }
    )
    assert steps['receive_to_publish'] == {'count': 50, 'p50_ms': 13.0}
    # 100 pictures made 50 batches: 80 pictures a second are 40 batches of 10 ms.
    assert busy_part(steps, pictures_hz=80.0, cameras=2) == pytest.approx(0.4)


@pytest.mark.slow
@pytest.mark.needs_ros
def test_the_node_as_a_whole(tmp_path, capsys) -> None:
    arguments = ('--ros', '--backends', 'fake', '--model', 'theia-tiny-patch16-224-cddsv')
    rates = ('--rates', '20,max', '--cameras', '2', '--seconds', '0.3', '--image-size', '64x48')
    document = measured(tmp_path, *arguments, *rates)
    assert document['kind'] == 'ros'
    assert document['settings']['rates'] == [20.0, 'max']
    assert document['transport']
    (node,) = document['nodes']
    assert (node['engine'], node['cameras']) == ('fake fp32', 2)
    assert node['startup_s'] > 0
    assert node['peak_mb'] > 50
    fixed, highest = document['rows']
    assert (fixed['search'], highest['search']) == (False, True)
    for row in document['rows']:
        assert row['sent_hz'] > 0
        assert set(row['latency']) == SPREAD
        assert {'received', 'encoded', 'dropped'} <= set(row['counters'])
        assert row['counters']['received'] > 0
        assert {'preprocess', 'compute', 'receive_to_publish'} <= set(row['steps'])
        difference = row['receive_to_publish_ms'] - row['steps']['compute']['p50_ms']
        assert row['node_overhead_ms'] == pytest.approx(difference)
    assert 'fake fp32' in capsys.readouterr().out


@pytest.mark.needs_ros
def test_a_node_that_does_not_start_says_why(capsys) -> None:
    arguments = ['--ros', '--backends', 'torch', '--model', 'theia-tiny-patch16-224-cddsv']
    assert main(['bench', *arguments]) == 2
    said = capsys.readouterr().err
    assert 'the process theia ended; it said: ' in said
    assert 'is not on this machine yet' in said
