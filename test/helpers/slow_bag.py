"""`theia-ros`, with an encoder that takes its time, and perhaps a disk that does not answer."""

from __future__ import annotations

import sys
import time

from rosbags.rosbag2 import Writer

from theia_ros.cli import main
from theia_ros.encoder import Encoder

_encode = Encoder.encode


def _slowly(self, frames, outputs):
    time.sleep(0.05)
    return _encode(self, frames, outputs)


def _never(self, *args):
    time.sleep(600)


if __name__ == '__main__':
    if '--cut-while-writing' in sys.argv:
        sys.argv.remove('--cut-while-writing')
        Writer.write = _never
    else:
        Encoder.encode = _slowly
    sys.exit(main())
