"""Instants of a window, and gaps in them."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.feature_messages import feature_tensor

from theia_ros.client import Observation
from theia_ros.client import view_of
from theia_ros.client import Window
from theia_ros.client.observations import series_of
from theia_ros.client.tracks import Track
from theia_ros.errors import GapError
from theia_ros.errors import ParameterError
from theia_ros.errors import StaleError

MS = 1_000_000


def track_of(*stamps_ms: int) -> Track[int]:
    """A track whose items are their own stamps, in milliseconds."""
    track: Track[int] = Track(keep_ns=10_000 * MS)
    for stamp in stamps_ms:
        track.put(stamp * MS, stamp)
    return track


def look(track: Track[int], newest_ms: int, gaps: str = 'hold', max_gap_s: float = 0.04):
    window = Window(steps=4, period_s=0.1, max_gap_s=max_gap_s, gaps=gaps)
    return series_of('front', track, window, newest_ms * MS, window.max_gap_s)


def test_instants_end_with_the_newest() -> None:
    window = Window(steps=3, period_s=0.1)
    assert window.instants(1000 * MS) == [800 * MS, 900 * MS, 1000 * MS]
    assert window.span_ns == 200 * MS
    assert Window().instants(5) == [5]


@pytest.mark.parametrize('gaps', ['hold', 'mask', 'fail'])
def test_each_instant_has_the_newest_item_before_it(gaps: str) -> None:
    series = look(track_of(690, 720, 790, 801, 870, 900, 985, 1000, 1030), 1000, gaps)
    assert series.items == (690, 790, 900, 1000)
    assert series.stamps_ns == (690 * MS, 790 * MS, 900 * MS, 1000 * MS)
    assert series.valid.tolist() == [True] * 4


def test_an_item_as_old_as_the_limit_is_no_gap() -> None:
    assert look(track_of(660, 760, 860, 960), 1000).valid.tolist() == [True] * 4
    assert look(track_of(659, 760, 860, 960), 1000).valid.tolist() == [False, True, True, True]


def test_hold_takes_the_older_item() -> None:
    series = look(track_of(690, 700, 990), 1000)
    assert series.items == (700, 700, 700, 990)
    assert series.valid.tolist() == [True, False, False, True]


def test_hold_begins_with_the_first_item() -> None:
    series = look(track_of(870, 1000), 1000)
    assert series.items == (870, 870, 870, 1000)
    assert series.valid.tolist() == [False, False, True, True]


def test_nothing_newer_than_the_newest_instant_is_ever_held() -> None:
    with pytest.raises(StaleError, match=r'front begins 0\.50 s after the newest instant'):
        look(track_of(1500, 1600), 1000)


def test_mask_takes_nothing() -> None:
    series = look(track_of(700, 990), 1000, 'mask')
    assert series.items == (700, None, None, 990)
    assert series.stamps_ns == (700 * MS, 0, 0, 990 * MS)
    assert series.valid.tolist() == [True, False, False, True]


def test_fail_says_where_and_how_far() -> None:
    with pytest.raises(
        GapError,
        match=r'front has a gap 0\.200 s before the newest instant: the last one before is '
        r'0\.100 s older, max_gap_s is 0\.04',
    ):
        look(track_of(700, 990), 1000, 'fail')
    with pytest.raises(GapError, match=r'gap 0\.300 s before .* the first came 0\.170 s later'):
        look(track_of(870, 1000), 1000, 'fail')


def test_nothing_at_all() -> None:
    with pytest.raises(StaleError, match='nothing of front has come') as caught:
        look(track_of(), 1000)
    assert caught.value.silent == ('front',)


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'steps': 0}, 'steps is 0; expected 1 or more'),
        ({'period_s': 0.0}, 'period_s is 0.0; expected more than 0'),
        ({'period_s': float('nan')}, 'period_s is nan'),
        ({'period_s': float('inf')}, 'period_s is inf'),
        ({'max_gap_s': -0.1}, 'max_gap_s is -0.1; expected 0 or more'),
        ({'max_gap_s': float('nan')}, 'max_gap_s is nan'),
        ({'gaps': 'zero'}, "gaps is 'zero'; expected one of hold, mask, fail"),
    ],
)
def test_windows_that_make_no_sense(values: dict, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        Window(**values)


# --- what a policy reads -------------------------------------------------------------------------

TOKENS = np.arange(24, dtype=np.float32).reshape(6, 4)


def observed(gaps: str = 'mask', dtype: str = 'float32', newest_ms: int = 1000) -> Observation:
    """Two instants, 900 and 1000 ms, of which the first is a gap; the joints have both."""
    window = Window(steps=2, period_s=0.1, max_gap_s=0.05, gaps=gaps)
    front: Track = Track(10_000 * MS)
    for stamp, values in ((800, TOKENS), (980, TOKENS + 100)):
        msg = feature_tensor(values.astype(dtype), stamp * MS, (2, 3))
        front.put(stamp * MS, view_of(msg, received_ns=(stamp + 15) * MS))
    joints: Track = Track(10_000 * MS)
    for stamp in (890, 990):
        joints.put(stamp * MS, np.array([stamp, -stamp]))
    series = {
        name: series_of(name, track, window, newest_ms * MS, window.max_gap_s)
        for name, track in (('front', front), ('joints', joints))
    }
    return Observation(newest_ms * MS, 0.1, 0.015, series)


def test_the_newest_item_is_a_view() -> None:
    found = observed()
    np.testing.assert_array_equal(found['front'].as_map()[:, 1, 2], TOKENS[5] + 100)
    assert found['front'].stamp_ns == 980 * MS
    assert found['joints'].tolist() == [990, -990]
    with pytest.raises(KeyError, match='wrist'):
        found['wrist']


@pytest.mark.parametrize('dtype', ['float32', 'float16'])
def test_stacks_are_float32_with_zeros_at_masked_gaps(dtype: str) -> None:
    found = observed(dtype=dtype)
    assert found.stack('front').dtype == np.float32
    np.testing.assert_array_equal(found.stack('front'), [TOKENS * 0, TOKENS + 100])
    assert found.valid('front').tolist() == [False, True]
    assert found.stack('joints').tolist() == [[890, -890], [990, -990]]
    assert found.valid('joints').tolist() == [True, True]


def test_stacks_of_held_gaps() -> None:
    found = observed('hold')
    np.testing.assert_array_equal(found.stack('front'), [TOKENS, TOKENS + 100])
    assert found.valid('front').tolist() == [False, True]


def test_stacks_of_maps() -> None:
    maps = observed('hold').stack_maps('front')
    assert maps.shape == (2, 4, 2, 3)
    np.testing.assert_array_equal(maps[1, :, 1, 0], TOKENS[3] + 100)
    np.testing.assert_array_equal(maps[0, :, 0, 1], TOKENS[1])


def test_a_gap_at_the_newest_instant() -> None:
    found = observed(newest_ms=1050)
    with pytest.raises(GapError, match='front has a gap at the newest instant; stack'):
        found['front']
    assert not found.stack('front').any()
