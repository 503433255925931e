from __future__ import annotations

import numpy as np
import pytest

from theia_ros.datatypes import Region
from theia_ros.intrinsics import scale_intrinsics

K = np.array([[600.0, 0.0, 319.5], [0.0, 610.0, 239.5], [0.0, 0.0, 1.0]])
P = np.array([[590.0, 0.0, 318.0, -59.0], [0.0, 590.0, 241.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
WHOLE = Region(0, 0, 640, 480)


def pixel(matrix, point):
    u, v, w = matrix @ point
    return u / w, v / w


def test_the_same_size_changes_nothing():
    np.testing.assert_allclose(scale_intrinsics(K, WHOLE, (480, 640)), K, rtol=0, atol=1e-12)
    np.testing.assert_allclose(scale_intrinsics(P, WHOLE, (480, 640)), P, rtol=0, atol=1e-12)


def test_the_middle_of_the_picture_stays_the_middle():
    half = scale_intrinsics(K, WHOLE, (240, 320))
    np.testing.assert_allclose(half, [[300, 0, 159.5], [0, 305, 119.5], [0, 0, 1]])


@pytest.mark.parametrize('size_hw', [(240, 320), (111, 640), (960, 1280)])
@pytest.mark.parametrize('matrix', [np.hstack([K, np.zeros((3, 1))]), P], ids=['K', 'P'])
def test_a_point_keeps_its_place_in_the_picture(matrix, size_hw):
    """Measured from the outer edge of the first pixel, half a pixel before its centre."""
    point = np.array([0.3, -0.2, 1.7, 1.0])
    u, v = pixel(matrix, point)
    found = pixel(scale_intrinsics(matrix, WHOLE, size_hw), point)
    assert (found[0] + 0.5) / size_hw[1] == pytest.approx((u + 0.5) / 640)
    assert (found[1] + 0.5) / size_hw[0] == pytest.approx((v + 0.5) / 480)


def test_a_region_of_interest_is_taken_off():
    """The picture is the region of the calibrated pixels, here binned two by two."""
    region = Region(100, 40, 400, 300)
    point = np.array([0.1, 0.1, 1.0])
    u, v = pixel(K, point)
    found = pixel(scale_intrinsics(K, region, (150, 200)), point)
    assert found[0] == pytest.approx((u - 100 + 0.5) / 2 - 0.5)
    assert found[1] == pytest.approx((v - 40 + 0.5) / 2 - 0.5)
