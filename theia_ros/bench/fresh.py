"""Start-up time and peak memory of a contender, in a process of its own so that both are true."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from theia_ros.errors import EngineError
from theia_ros.params import EncoderParams
from theia_ros.params import make


def measure(
    params: EncoderParams,
    *,
    baseline: bool,
    outputs: Sequence[str],
    batch: int,
    image_hw: tuple[int, int],
) -> dict[str, float]:
    """Start a process that opens the contender and encodes, and return its figures.

    Returns:
        `import_s` for python and the libraries, `open_s` for weights and engine (a built one
        comes from the cache), `first_s` for the first features, `startup_s` from the start of
        the process to the first features; `peak_mb`, resident memory at most, and on a CUDA
        device `cuda_peak_mb`, what torch allocated at most, both after a batch.

    Raises:
        EngineError: The process failed.
    """
    task = {
        'params': asdict(params),
        'baseline': baseline,
        'outputs': outputs,
        'batch': batch,
        'image_hw': image_hw,
        # The steady clock is one for all processes.
        'started_ns': time.monotonic_ns(),
    }
    done = subprocess.run(
        [sys.executable, '-m', 'theia_ros.bench.fresh', json.dumps(task)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or ['nothing']
        raise EngineError(f'a process of its own ended with {done.returncode}: {said[-1]}')
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _main(task: Mapping[str, Any]) -> dict[str, float]:
    import torch

    from theia_ros.bench.baseline import Baseline
    from theia_ros.bench.contenders import EncoderRunner
    from theia_ros.bench.contenders import Runner
    from theia_ros.bench.pictures import make_frames
    from theia_ros.encoder import Encoder

    imported_ns = time.monotonic_ns()
    params = make(EncoderParams, task['params'])
    runner: Runner
    if task['baseline']:
        runner = Baseline(params)
    else:
        runner = EncoderRunner('', Encoder(params))
    opened_ns = time.monotonic_ns()
    frames = make_frames(task['batch'], tuple(task['image_hw']))
    made_ns = time.monotonic_ns()
    runner.run(frames[:1], task['outputs'])
    first_ns = time.monotonic_ns()
    runner.run(frames, task['outputs'])
    figures = {
        'import_s': (imported_ns - task['started_ns']) / 1e9,
        'open_s': (opened_ns - imported_ns) / 1e9,
        'first_s': (first_ns - made_ns) / 1e9,
        'startup_s': (opened_ns - task['started_ns'] + first_ns - made_ns) / 1e9,
        'peak_mb': peak_mb('self'),
    }
    if torch.cuda.is_available():
        figures['cuda_peak_mb'] = torch.cuda.max_memory_allocated() / 1e6
    return figures


def peak_mb(pid: int | str) -> float:
    """Return the resident memory of a process at most, megabytes.

    Not `getrusage`, whose peak a process takes over from the one that started it.
    """
    found = re.search(r'^VmHWM:\s+(\d+) kB$', Path(f'/proc/{pid}/status').read_text(), re.M)
    assert found
    return int(found[1]) * 1024 / 1e6


if __name__ == '__main__':
    sys.stdout.write(json.dumps(_main(json.loads(sys.argv[1]))) + '\n')
