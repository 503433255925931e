from __future__ import annotations

from theia_ros.bench.rounds import compare_with_single
from theia_ros.bench.rounds import rows
from theia_ros.bench.rounds import spread


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
