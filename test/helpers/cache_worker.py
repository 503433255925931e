"""A process that obtains one part from a cache: `python cache_worker.py FOLDER LOG STAGE`.

It writes its process id and what it does to LOG, a line each, and stays in STAGE, `build` or
`write`, until the file LOG.go is there.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from theia_ros.engine import cache
from theia_ros.engine.engine_file import EngineKey

KEY = EngineKey(
    model='m',
    config='{}',
    weights_sha256='a' * 64,
    code='1',
    part='theia',
    image_hw=(224, 224),
    max_batch=8,
    backend='openvino',
    precision='fp32',
    settings='{}',
    device='a processor',
    features='avx2',
    driver='',
    cuda='',
    torch='2.13.0',
    compiler='openvino 1',
    runtime='openvino 1',
)


def main(folder: str, log: str, stage: str) -> None:
    def tell(line: str) -> None:
        with Path(log).open('a') as file:
            file.write(f'{os.getpid()} {line}\n')

    def stay() -> None:
        tell(f'stays in {stage}')
        while not Path(log + '.go').exists():
            time.sleep(0.01)

    def build() -> bytes:
        tell('builds')
        if stage == 'build':
            stay()
        return b'payload'

    if stage == 'write':

        def write(file, key, payload):
            file.write(b'half of it')
            file.flush()
            stay()

        cache.write = write
    loaded = cache.EngineCache(Path(folder), tell).obtain(KEY, build, bytes)
    tell(f'has {loaded!r}')


if __name__ == '__main__':
    main(*sys.argv[1:])
