"""Encode an image file without ROS."""

import sys
from pathlib import Path

from theia_ros.datatypes import Frame
from theia_ros.encoder import Encoder
from theia_ros.images import read_rgb
from theia_ros.params import EncoderParams

image = Path(sys.argv[1])
model = sys.argv[2] if len(sys.argv) > 2 else 'demo-dinov2-small'

with Encoder(EncoderParams(model=model)) as encoder:
    encoded = encoder.encode([Frame(read_rgb(image))], ['theia'])[0]

features = encoded.features['theia']
print(features.tokens.shape, features.grid_hw)  # (196, 384) (14, 14)
print(features.as_map().shape)  # (384, 14, 14): channels, rows, columns
