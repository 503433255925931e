"""Items of one source by their stamps."""

from __future__ import annotations

import pytest

from theia_ros.client.tracks import Track


def track_of(*stamps: int, keep_ns: int = 1000, disorder_ns: int = 0) -> Track[str]:
    track: Track[str] = Track(keep_ns, disorder_ns)
    for stamp in stamps:
        track.put(stamp, f'of {stamp}')
    return track


@pytest.mark.parametrize(
    ('stamp', 'found'),
    [
        pytest.param(9, None, id='before the first'),
        pytest.param(10, 10, id='exactly the first'),
        pytest.param(19, 10, id='between'),
        pytest.param(20, 20, id='exactly the second'),
        pytest.param(10_000, 30, id='after the last'),
    ],
)
def test_as_of_never_looks_ahead(stamp: int, found: int | None) -> None:
    assert track_of(10, 20, 30).as_of(stamp) == (found and (found, f'of {found}'))


def test_an_empty_track_has_nothing() -> None:
    track = track_of()
    assert (track.newest, track.oldest, track.as_of(5), len(track)) == (None, None, None, 0)


def test_what_nobody_can_ask_for_is_forgotten() -> None:
    track = track_of(*range(0, 100, 10), keep_ns=25)
    # 65 is as far back as somebody may look from 90, and 60 was the newest then.
    assert track.as_of(65) == (60, 'of 60')
    assert track.as_of(59) is None
    assert len(track) == 4


def test_a_long_silence_keeps_the_last_before_it() -> None:
    track = track_of(10, 20, 5000, keep_ns=25)
    assert track.as_of(4990) == (20, 'of 20')
    assert track.oldest == (20, 'of 20')


def test_of_two_with_one_stamp_the_later_counts() -> None:
    track = track_of(10, 20)
    track.put(20, 'again')
    assert track.newest == (20, 'again')
    assert len(track) == 2


def test_a_clock_that_jumps_back_begins_anew() -> None:
    track = track_of(10, 20, 30)
    track.put(29, 'after the jump')
    assert len(track) == 1
    assert track.newest == (29, 'after the jump')
    assert track.as_of(28) is None


def test_a_little_disorder_is_put_in_order() -> None:
    track = track_of(10, 30, disorder_ns=15)
    track.put(20, 'late')
    track.put(15, 'later')
    assert [track.as_of(s).item for s in (10, 15, 20, 30)] == ['of 10', 'later', 'late', 'of 30']
    track.put(14, 'a jump')
    assert len(track) == 1
