"""The encoder node with a fake engine that obeys a file.

    MOOD_FILE=/tmp/mood python test/helpers/moody_node.py --ros-args -p backend:=fake ...

What stands in the file when a batch comes decides its fate; without the file it is fine.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import torch

import theia_ros.engine
from theia_ros.errors import EngineError
from theia_ros.nodes.encoder_node import main

MOOD_FILE = Path(os.environ['MOOD_FILE'])
ERRORS = {
    'engine': EngineError('the fake device is lost'),
    'memory': torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 20.00 MiB'),
    'bug': ZeroDivisionError('division by zero'),
}

open_fake = theia_ros.engine.BACKENDS['fake']


class MoodyEngine:
    """A fake engine that fails when it is told to."""

    def __init__(self, *args):
        self._fake = open_fake(*args)

    def __getattr__(self, name):
        return getattr(self._fake, name)

    def infer(self, pixels, tensors):
        mood = MOOD_FILE.read_text() if MOOD_FILE.exists() else ''
        if mood in ERRORS:
            raise ERRORS[mood]
        if mood == 'disk full':  # no file, the log and stderr included, takes another byte
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        return self._fake.infer(pixels, tensors)


theia_ros.engine.BACKENDS = {**theia_ros.engine.BACKENDS, 'fake': MoodyEngine}

if __name__ == '__main__':
    sys.exit(main())
