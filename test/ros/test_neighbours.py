"""Layouts of other packages with the real messages of ROS, as far as they are here."""

from __future__ import annotations

import array

import numpy as np
import pytest
import std_msgs.msg
from rclpy.serialization import deserialize_message
from rclpy.serialization import serialize_message
from std_msgs.msg import Float32MultiArray
from theia_msgs.msg import FeatureTensor

from theia_ros import neighbours

pytestmark = pytest.mark.needs_ros

TOKENS = np.arange(24, dtype=np.float16).reshape(6, 4)


def test_multi_array_of_ros() -> None:
    msg = FeatureTensor(
        dtype=FeatureTensor.FLOAT16,
        shape=[6, 4],
        grid_height=2,
        grid_width=3,
        data=array.array('B', TOKENS.tobytes()),
    )
    made = neighbours.to_multi_array(msg, std_msgs.msg)
    found = deserialize_message(serialize_message(made), Float32MultiArray)
    assert [d.label for d in found.layout.dim] == ['row', 'column', 'channel']
    np.testing.assert_array_equal(
        neighbours.array_of_multi_array(found), TOKENS.reshape(2, 3, 4).astype(np.float32)
    )


def test_a_decoder_reads_the_message_of_ros() -> None:
    msg = FeatureTensor(
        dtype=FeatureTensor.FLOAT16, shape=[6, 4], data=array.array('B', TOKENS.tobytes())
    )
    spec = type('Spec', (), {'names': ('5.3', 'mean.0')})
    assert neighbours.decode_for_rosetta(msg, spec).tolist() == [23.0, 10.0]
