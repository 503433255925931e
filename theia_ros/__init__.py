"""Theia features for robots: a camera picture in, feature tensors out.

Read `encoder.py`, `nodes/pipeline.py` and `nodes/encoder_node.py`, in this order, to know all.
This module imports nothing heavy, so that `import theia_ros` works without ROS and torch.
"""

__version__ = '0.1.0'
