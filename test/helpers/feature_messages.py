"""Messages as the client takes them, without ROS: the fields of the definitions, and no more."""

from __future__ import annotations

import array
from types import SimpleNamespace

import numpy as np

DIGEST = 'ab' * 32
OTHER = 'cd' * 32
FLOAT32, FLOAT16, BFLOAT16 = 1, 2, 3


def stamp(stamp_ns: int) -> SimpleNamespace:
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    return SimpleNamespace(sec=sec, nanosec=nanosec)


def header(stamp_ns: int = 0, frame_id: str = 'optical') -> SimpleNamespace:
    return SimpleNamespace(stamp=stamp(stamp_ns), frame_id=frame_id)


def feature_tensor(
    values: np.ndarray, stamp_ns: int = 0, grid_hw: tuple[int, int] = (0, 0), **changes: object
) -> SimpleNamespace:
    """Return (N, C) numbers as a FeatureTensor; 16-bit whole numbers are taken for bfloat16."""
    dtype = {'float32': FLOAT32, 'float16': FLOAT16, 'uint16': BFLOAT16}[values.dtype.name]
    fields = {
        'header': header(stamp_ns),
        'model': 'tiny',
        'name': 'theia',
        'provenance': DIGEST,
        'dtype': dtype,
        'shape': array.array('I', values.shape),
        'grid_height': grid_hw[0],
        'grid_width': grid_hw[1],
        'region': SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0),
        'data': array.array('B', values.tobytes()),
    }
    return SimpleNamespace(**{**fields, **changes})


def numbered(number: float, stamp_ns: int, **changes: object) -> SimpleNamespace:
    """Return features of one token, which are all this number."""
    return feature_tensor(np.full((1, 2), number, np.float32), stamp_ns, **changes)


def encoder_info(**changes: object) -> SimpleNamespace:
    fields = {
        'model': 'tiny',
        'revision': 'main',
        'weights_sha256': '12' * 32,
        'preprocessing': 'official',
        'reduction': 'none',
        'token_layout': 'cls, 14x14 patches row by row',
        'backend': 'torch',
        'precision': 'fp32',
        'versions': ['theia_ros=0.1.0', 'torch=2.13.0'],
        'digest': DIGEST,
    }
    return SimpleNamespace(**{**fields, **changes})
