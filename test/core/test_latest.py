from __future__ import annotations

import threading

from theia_ros.latest import Latest


def test_the_newest_wins_and_the_lost_are_counted() -> None:
    box: Latest[int] = Latest(most=9)
    for item in (1, 2, 3):
        box.put('front', item)
    box.put('wrist', 7)
    assert box.take() == {'front': 3, 'wrist': 7}
    assert (box.replaced('front'), box.replaced('wrist'), box.replaced('other')) == (2, 0, 0)
    box.put('front', 4)
    assert box.take() == {'front': 4}
    assert box.replaced('front') == 2


def test_whoever_waits_longest_is_first_however_fast_another_sends() -> None:
    box: Latest[int] = Latest(most=1)
    box.put('slow', 0)
    for item in range(100):
        box.put('fast', item)
    assert list(box.take()) == ['slow']
    box.put('slow', 1)
    assert box.take() == {'fast': 99}
    assert box.take() == {'slow': 1}


def test_replacing_keeps_the_place_in_the_queue() -> None:
    box: Latest[int] = Latest(most=9)
    box.put('a', 1)
    box.put('b', 1)
    box.put('a', 2)
    assert list(box.take().items()) == [('a', 2), ('b', 1)]


def test_taking_waits_for_an_item() -> None:
    box: Latest[int] = Latest(most=9)
    taken: list[dict[str, int] | None] = []
    thread = threading.Thread(target=lambda: taken.append(box.take()))
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    box.put('front', 1)
    thread.join(10)
    assert taken == [{'front': 1}]


def test_it_is_empty_until_somebody_puts_and_once_all_is_taken() -> None:
    box: Latest[int] = Latest(most=1)
    assert box.empty()
    box.put('a', 1)
    box.put('b', 1)
    box.take()
    assert not box.empty()
    box.take()
    assert box.empty()


def test_closing_wakes_every_taker_and_drops_the_rest() -> None:
    box: Latest[int] = Latest(most=9)
    taken: list[dict[str, int] | None] = []
    threads = [threading.Thread(target=lambda: taken.append(box.take())) for _ in range(2)]
    for thread in threads:
        thread.start()
    box.close()
    for thread in threads:
        thread.join(10)
    assert taken == [None, None]
    box.put('front', 1)
    assert box.take() is None
