"""The encoder node with a fake engine that takes its time, or fails.

    python test/helpers/slow_node.py --ros-args -p backend:=fake ...

SLOW_OPEN_S and SLOW_INFER_S delay the engine, FAIL_EVERY makes every n-th batch fail.
"""

from __future__ import annotations

import os
import sys
import time

import theia_ros.engine
from theia_ros.errors import EngineError
from theia_ros.nodes.encoder_node import main

OPEN_S = float(os.environ.get('SLOW_OPEN_S', '0'))
INFER_S = float(os.environ.get('SLOW_INFER_S', '0'))
FAIL_EVERY = int(os.environ.get('FAIL_EVERY', '0'))

open_fake = theia_ros.engine.BACKENDS['fake']


class SlowEngine:
    """A fake engine, slower."""

    def __init__(self, *args):
        self._fake = open_fake(*args)
        self._batches = 0
        end = time.monotonic() + OPEN_S
        print('the engine opens', flush=True)
        while time.monotonic() < end:
            time.sleep(0.01)

    def __getattr__(self, name):
        return getattr(self._fake, name)

    def infer(self, pixels, tensors):
        self._batches += 1
        time.sleep(INFER_S)
        if FAIL_EVERY and self._batches % FAIL_EVERY == 0:
            raise EngineError('the fake device is out of memory')
        return self._fake.infer(pixels, tensors)


theia_ros.engine.BACKENDS = {**theia_ros.engine.BACKENDS, 'fake': SlowEngine}

if __name__ == '__main__':
    sys.exit(main())
