"""What the messages of this version hold: name and type of each field, by message.

Made from msg/ by scripts/docs; so the package knows it also where that folder is not.
"""

from __future__ import annotations

from collections.abc import Mapping

FIELDS: Mapping[str, Mapping[str, str]] = {
    'EncoderInfo': {
        'stamp': 'builtin_interfaces/Time',
        'model': 'string',
        'revision': 'string',
        'weights_sha256': 'string',
        'preprocessing': 'string',
        'reduction': 'string',
        'token_layout': 'string',
        'tensors': 'sequence<theia_msgs/TensorInfo>',
        'backend': 'string',
        'precision': 'string',
        'engine_fingerprint': 'string',
        'device': 'string',
        'versions': 'sequence<string>',
        'cameras': 'sequence<string>',
        'image_topics': 'sequence<string>',
        'digest': 'string',
    },
    'FeatureTensor': {
        'header': 'std_msgs/Header',
        'model': 'string',
        'name': 'string',
        'provenance': 'string',
        'dtype': 'uint8',
        'shape': 'sequence<uint32>',
        'grid_height': 'uint32',
        'grid_width': 'uint32',
        'region': 'sensor_msgs/RegionOfInterest',
        'data': 'sequence<uint8>',
    },
    'FeatureTensorArray': {
        'header': 'std_msgs/Header',
        'tensors': 'sequence<theia_msgs/FeatureTensor>',
        'cameras': 'sequence<string>',
    },
    'Latency': {
        'header': 'std_msgs/Header',
        'steps': 'sequence<theia_msgs/StepLatency>',
    },
    'StepLatency': {
        'camera': 'string',
        'step': 'string',
        'count': 'uint32',
        'p50_ms': 'float',
        'p95_ms': 'float',
        'p99_ms': 'float',
        'max_ms': 'float',
    },
    'TensorInfo': {
        'name': 'string',
        'shape': 'sequence<uint32>',
        'grid_height': 'uint32',
        'grid_width': 'uint32',
        'dtype': 'uint8',
        'parity_cosine': 'double',
        'parity_max_abs_error': 'double',
    },
}
