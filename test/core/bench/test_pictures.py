from __future__ import annotations

import numpy as np

from theia_ros.bench.pictures import make_frames


def test_pictures_are_the_same_each_time_and_all_different() -> None:
    first, second = make_frames(4, (30, 50)), make_frames(4, (30, 50))
    for a, b in zip(first, second, strict=True):
        assert a.image_hw == (30, 50)
        np.testing.assert_array_equal(a.rgb, b.rgb)
    assert len({frame.rgb.tobytes() for frame in first}) == 4
