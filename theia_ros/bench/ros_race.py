"""The benchmark of the node: images in, features received, at fixed rates and at the highest."""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from dataclasses import dataclass
from typing import Any

from rclpy.utilities import get_rmw_implementation_identifier
from tqdm import tqdm

from theia_ros.bench import machine
from theia_ros.bench.fresh import peak_mb
from theia_ros.bench.ros_figures import busy_part
from theia_ros.bench.ros_figures import mean_steps
from theia_ros.bench.ros_figures import summary
from theia_ros.bench.ros_graph import Graph
from theia_ros.bench.ros_process import ros
from theia_ros.params import EncoderParams

SCHEMA = 1
"""Of the JSON document; grows when a field changes its meaning or goes."""

MOST_LOST_PART = 0.05
"""Of the pictures, at the highest rate that counts."""

_CALM_HZ = 10.0
_HIGHEST_HZ = 500.0
_STEP = 1.2
"""From one tried rate to the next."""
_TRIALS = 10
_SETTLE_S = 0.5
_COUNTERS = ('received', 'encoded', 'dropped', 'stale', 'bad', 'failed', 'lost')


@dataclass(frozen=True)
class Settings:
    """What to measure.

    Attributes:
        backends: Values of that parameter.
        precisions: Values of that parameter.
        cameras: Numbers of cameras.
        rates: Images of each camera a second; infinite is the highest without much loss.
        image_hw: Rows and columns of the pictures.
        seconds: For each rate.
    """

    backends: tuple[str, ...]
    precisions: tuple[str, ...]
    cameras: tuple[int, ...]
    rates: tuple[float, ...]
    image_hw: tuple[int, int]
    seconds: float


def run(params: EncoderParams, settings: Settings) -> dict[str, Any]:
    """Measure and return the document.

    Raises:
        EngineError: A process ended, or nothing came.
    """
    load_before = machine.load()
    table: list[dict[str, Any]] = []
    nodes: list[dict[str, Any]] = []
    # The fake has one precision.
    engines = dict.fromkeys(
        (b, 'auto' if b == 'fake' else p) for b in settings.backends for p in settings.precisions
    )
    total = len(engines) * len(settings.cameras) * len(settings.rates)
    with ros() as transport, tqdm(total=total, unit='rate', delay=2, leave=False) as progress:
        for (backend, precision), cameras in itertools.product(engines, settings.cameras):
            node_params = {
                'model': params.model,
                'device': params.device,
                'backend': backend,
                'precision': precision,
            }
            with Graph(node_params, cameras, settings.image_hw) as graph:
                table += _rows(graph, cameras, settings, progress)
                nodes.append(
                    {
                        'engine': _engine(graph),
                        'cameras': cameras,
                        'device': graph.info.device,
                        'startup_s': graph.startup_s,
                        'peak_mb': peak_mb(graph.pid),
                    }
                )
        described = machine.describe()
        described['versions'] |= {
            'ros': os.environ.get('ROS_DISTRO', ''),
            'rmw': get_rmw_implementation_identifier(),
        }
    return {
        'schema': SCHEMA,
        'kind': 'ros',
        **described,
        'load': {'before': load_before, 'after': machine.load()},
        'model': machine.model_name(params.model),
        'transport': transport,
        'settings': asdict(settings),
        'most_lost_part': MOST_LOST_PART,
        'nodes': nodes,
        'rows': table,
    }


def _rows(
    graph: Graph, cameras: int, settings: Settings, progress: tqdm
) -> Iterator[dict[str, Any]]:
    """Give the row of each rate."""
    engine = _engine(graph)
    progress.set_description(f'{engine}, cameras {cameras}')
    for rate_hz in settings.rates:
        if search := math.isinf(rate_hz):
            row = _search(graph, cameras, settings.seconds)
        else:
            row = _trial(graph, cameras, rate_hz, settings.seconds)
        yield {'engine': engine, 'search': search, **row}
        progress.update()


def _engine(graph: Graph) -> str:
    """Return what the node computes with, for tables."""
    return f'{graph.info.backend} {graph.info.precision}'


def _search(graph: Graph, cameras: int, seconds: float) -> dict[str, Any]:
    """Find the highest rate with little loss, in steps, and return its row.

    When not even the lowest one that was tried is such, its row tells what is lost.
    """
    first = _trial(graph, cameras, _CALM_HZ, seconds)
    rate_hz = min(_HIGHEST_HZ, 1e3 / max(1.0, first['receive_to_publish_ms']))
    best, fits, too_fast_hz = first, False, math.inf
    for _ in range(_TRIALS):
        row = _trial(graph, cameras, rate_hz, seconds)
        if row['lost_part'] < MOST_LOST_PART:
            best, fits = row, True
            # Above what a camera can send there is nothing to find.
            if row['sent_hz'] < 0.9 * rate_hz or rate_hz >= _HIGHEST_HZ:
                break
            rate_hz = min(_HIGHEST_HZ, rate_hz * _STEP)
            if rate_hz > 0.99 * too_fast_hz:
                break
        elif fits:
            break
        else:
            best, too_fast_hz = row, rate_hz
            rate_hz /= _STEP
    return best


def _trial(graph: Graph, cameras: int, rate_hz: float, seconds: float) -> dict[str, Any]:
    """Let the cameras send at a rate for a while and return what came of it."""
    graph.set_rate(0.0)
    graph.restart()
    graph.forget()
    graph.set_rate(rate_hz)
    graph.wait_for_features(cameras)
    graph.spin(_SETTLE_S)
    before = graph.next_report()
    graph.forget()
    cpu_before_s, started = graph.cpu_s(), time.monotonic()
    graph.spin(seconds)
    after = graph.next_report()
    cpu_cores = (graph.cpu_s() - cpu_before_s) / (time.monotonic() - started)
    received = list(graph.received)
    graph.spin(0.1)  # the latencies are told beside the counters
    graph.set_rate(0.0)
    steps = mean_steps(graph.latency)
    figures = summary(received, cameras)
    arrival_ms = steps['receive_to_publish']['p50_ms']
    compute_ms = steps['compute']['p50_ms']
    return {
        'cameras': cameras,
        'rate_hz': rate_hz,
        **figures,
        'counters': {name: after.get(name, 0) - before.get(name, 0) for name in _COUNTERS},
        'receive_to_publish_ms': arrival_ms,
        'node_overhead_ms': arrival_ms - compute_ms,
        'node_cpu_cores': cpu_cores,
        'engine_busy_part': busy_part(steps, figures['features_hz'] * cameras, cameras),
        'steps': steps,
    }
