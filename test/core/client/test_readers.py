"""Readers of usual messages."""

from __future__ import annotations

import array
from types import SimpleNamespace

import numpy as np

from theia_ros.client import joint_positions


def joints(names: list[str], positions: list[float]) -> SimpleNamespace:
    return SimpleNamespace(name=names, position=array.array('d', positions))


def test_joints_are_found_by_name() -> None:
    found = joint_positions('elbow', 'wrist')(joints(['wrist', 'base', 'elbow'], [1, 2, 3]))
    assert found.tolist() == [3, 1]
    assert found.dtype == np.float32


def test_a_message_without_one_of_them_is_skipped() -> None:
    read = joint_positions('elbow', 'wrist')
    assert read(joints(['wrist'], [1])) is None
    # A driver that tells velocities only.
    assert read(joints(['elbow', 'wrist'], [])) is None
