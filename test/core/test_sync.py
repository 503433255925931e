from __future__ import annotations

from theia_ros.sync import Synchronizer

MS = 1_000_000


def test_pictures_within_the_tolerance_are_a_set() -> None:
    sync: Synchronizer[str] = Synchronizer(['a', 'b'], 10 * MS)
    assert sync.put('a', 100 * MS, 'a100') == {}
    assert sync.put('b', 108 * MS, 'b108') == {'a': 'a100', 'b': 'b108'}
    assert sync.put('b', 141 * MS, 'b141') == {}
    assert sync.put('a', 133 * MS, 'a133') == {'a': 'a133', 'b': 'b141'}
    assert (sync.dropped('a'), sync.dropped('b')) == (0, 0)


def test_pictures_too_far_apart_are_none() -> None:
    sync: Synchronizer[str] = Synchronizer(['a', 'b'], 10 * MS)
    sync.put('a', 100 * MS, 'a100')
    assert sync.put('b', 111 * MS, 'b111') == {}
    assert sync.put('a', 115 * MS, 'a115') == {'a': 'a115', 'b': 'b111'}
    assert (sync.dropped('a'), sync.dropped('b')) == (1, 0)


def test_a_fast_camera_gives_its_nearest_picture() -> None:
    sync: Synchronizer[int] = Synchronizer(['slow', 'fast'], 20 * MS)
    for stamp in range(0, 130, 10):
        assert sync.put('fast', stamp * MS, stamp) == {}
    assert sync.put('slow', 103 * MS, 103) == {'slow': 103, 'fast': 100}
    assert sync.dropped('fast') == 10
    assert sync.put('slow', 118 * MS, 118) == {'slow': 118, 'fast': 120}


def test_every_camera_is_needed() -> None:
    sync: Synchronizer[str] = Synchronizer(['a', 'b', 'c'], MS)
    sync.put('a', 0, 'a')
    assert sync.put('b', 0, 'b') == {}
    assert sync.put('c', 0, 'c') == {'a': 'a', 'b': 'b', 'c': 'c'}


def test_a_silent_camera_does_not_fill_the_memory() -> None:
    sync: Synchronizer[int] = Synchronizer(['a', 'silent'], MS)
    for stamp in range(1000):
        sync.put('a', stamp * MS, stamp)
    assert sync.dropped('a') == 1000 - 32
    assert sync.put('silent', 999 * MS, 7) == {'a': 999, 'silent': 7}


def test_a_clock_that_jumps_back_begins_anew() -> None:
    sync: Synchronizer[str] = Synchronizer(['a', 'b'], MS)
    sync.put('a', 5000 * MS, 'old')
    assert sync.put('b', 10 * MS, 'b10') == {}
    assert sync.put('a', 10 * MS, 'a10') == {'a': 'a10', 'b': 'b10'}
    assert sync.dropped('a') == 1
