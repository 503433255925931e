from __future__ import annotations

import numpy as np
import pytest

from theia_ros.cloud import points_of

K = np.array([[100.0, 0, 3.5], [0, 200.0, 1.5], [0, 0, 1]])


def test_nearest_and_farthest_are_where_they_are_said_to_be() -> None:
    depth = np.array([[0.0, 1.0]], np.float32)

    points = points_of(depth, K, 0.5, 4.0, columns=2)
    assert points.shape == (1, 2, 4)
    np.testing.assert_allclose(points[0, :, 2], [4.0, 0.5])
    np.testing.assert_array_equal(points[0, :, 3], [0, 1])


def test_depth_is_even_in_its_inverse() -> None:
    points = points_of(np.full((1, 1), 0.25, np.float32), K, 0.5, 4.0, columns=1)
    assert 1 / points[0, 0, 2] == pytest.approx(0.25 / 0.5 + 0.75 / 4.0)


def test_points_project_back_onto_their_pixels() -> None:
    depth = np.random.default_rng(0).random((6, 8), np.float32)

    points = points_of(depth, K, 0.3, 3.0, columns=8).astype(np.float64)
    x, y, z, nearness = np.moveaxis(points, -1, 0)
    v, u = np.mgrid[:6, :8]
    np.testing.assert_allclose(K[0, 0] * x / z + K[0, 2], u, atol=1e-4)
    np.testing.assert_allclose(K[1, 1] * y / z + K[1, 2], v, atol=1e-4)
    np.testing.assert_array_equal(nearness, depth)


@pytest.mark.parametrize(('columns', 'step'), [(8, 1), (7, 2), (4, 2), (3, 3), (1, 8)])
def test_there_are_at_most_as_many_columns_as_asked_for(columns, step) -> None:
    depth = np.arange(48, dtype=np.float32).reshape(6, 8) / 48

    points = points_of(depth, K, 0.3, 3.0, columns)
    assert points.shape[1] <= columns
    half = step // 2
    np.testing.assert_array_equal(points[..., 3], depth[half::step, half::step])
    u = K[0, 0] * points[0, :, 0] / points[0, :, 2] + K[0, 2]
    np.testing.assert_allclose(u, np.arange(half, 8, step), atol=1e-4)
