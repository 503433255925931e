"""The encoder node with a fake engine that obeys a file.

    MOOD_FILE=/tmp/mood python test/helpers/moody_node.py --ros-args -p backend:=fake ...

What stands in the file when a batch comes decides its fate; without the file it is fine.
"""

from __future__ import annotations

import contextlib
import hashlib
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


def mood():
    """Return what stands in the file."""
    with contextlib.suppress(FileNotFoundError):
        return MOOD_FILE.read_text()


def never_come_back():
    """Compute for minutes, out of the reach of Python, as a compiler or a driver may."""
    hashlib.pbkdf2_hmac('sha256', b'', b'', 2**30)


open_fake = theia_ros.engine.BACKENDS['fake']


class MoodyEngine:
    """A fake engine that fails when it is told to."""

    def __init__(self, *args):
        self._fake = open_fake(*args)
        if mood() == 'endless build':
            print('the engine is built', flush=True)
            never_come_back()

    def __getattr__(self, name):
        return getattr(self._fake, name)

    def infer(self, pixels, tensors):
        if mood() in ERRORS:
            raise ERRORS[mood()]
        if mood() == 'hang':
            never_come_back()
        if mood() == 'disk full':  # no file, the log and stderr included, takes another byte
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        return self._fake.infer(pixels, tensors)


theia_ros.engine.BACKENDS = {**theia_ros.engine.BACKENDS, 'fake': MoodyEngine}

if __name__ == '__main__':
    sys.exit(main())
