"""Whole runs of the benchmark, small ones. No time is judged."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from unittest import mock

from theia_ros import engine
from theia_ros.cli import main
from theia_ros.errors import EngineError

# On the CPU, where the eager float32 engine is not itself compared with a reference.
QUICK = ('--rounds', '1', '--image-size', '96x64', '--device', 'cpu')
SPREAD = {'count', 'p50_ms', 'p95_ms', 'p99_ms', 'max_ms'}


def test_a_run_from_end_to_end(measured, folder: Path, tmp_path, capsys) -> None:
    arguments = ('--model', str(folder), '--backends', 'torch', '--precisions', 'fp32,auto')
    cases = ('--batches', '1,2', '--tensors', 'theia,clip')
    if importlib.util.find_spec('matplotlib'):
        arguments += ('--plot', str(tmp_path / 'plot.png'))
    document = measured(*arguments, *cases, *QUICK)

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


def test_a_wrong_head_costs_only_the_outputs_with_it(spoil, measured, folder: Path) -> None:
    def wrong(name, tensor):
        return tensor * 1.01 if name == 'clip' else tensor

    spoil(wrong)
    arguments = ('--model', str(folder), '--backends', 'torch', '--precisions', 'fp32')
    cases = ('--batches', '1', '--tensors', 'theia', 'all')
    document = measured(*arguments, *cases, *QUICK)
    one = document['contenders'][1]
    assert one['state'] == 'not equal'
    assert one['reason'].startswith('clip, batch 1: relative error 1.0e-02')
    timed = [(row['outputs'], row['contender']) for row in document['rows']]
    assert timed == [('theia', 'baseline'), ('theia', 'torch fp32'), ('all', 'baseline')]


def test_who_fails_is_dropped(spoil, measured, folder: Path) -> None:
    def fail(name, tensor):
        if len(tensor) == 2:
            raise EngineError('out of memory')
        return tensor

    spoil(fail)
    arguments = ('--model', str(folder), '--backends', 'torch', '--precisions', 'fp32')
    document = measured(*arguments, '--batches', '1,2', *QUICK)
    one = document['contenders'][1]
    assert (one['state'], one['reason']) == ('failed', 'out of memory')
    assert {row['contender'] for row in document['rows']} == {'baseline'}


def test_who_is_not_equal_or_not_there_is_told_and_not_timed(
    spoil, measured, folder: Path, capsys
) -> None:
    def missing(*_):
        raise EngineError('backend openvino is not installed')

    spoil(lambda name, tensor: tensor * 1.001)
    arguments = ('--model', str(folder), '--backends', 'fake,openvino,torch', '--batches', '1')
    with mock.patch.dict(engine.BACKENDS, openvino=missing):
        document = measured(*arguments, '--precisions', 'fp32,auto', *QUICK)
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


def test_a_tensor_that_the_model_does_not_have(folder: Path, capsys) -> None:
    assert main(['bench', '--model', str(folder), '--tensors', 'theia,owl']) == 2
    assert "has no tensor 'owl'; it has theia, clip" in capsys.readouterr().err
