from __future__ import annotations

import threading

import pytest

from theia_ros.latest import Latest
from theia_ros.worker import InOrder
from theia_ros.worker import Worker


def test_batches_arrive_and_stopping_finishes_the_one_in_hand() -> None:
    box: Latest[int] = Latest(most=2)
    begun, go_on = threading.Event(), threading.Event()
    done: list[dict[str, int]] = []

    def work(batch: dict[str, int]) -> None:
        begun.set()
        assert go_on.wait(10)
        done.append(batch)

    worker = Worker(box, work, lambda exc: None)
    box.put('a', 1)
    assert begun.wait(10)
    stopper = threading.Thread(target=worker.stop)
    stopper.start()
    stopper.join(0.05)
    assert stopper.is_alive()
    go_on.set()
    stopper.join(10)
    assert done == [{'a': 1}]


def test_an_error_is_told_and_the_next_batch_is_served() -> None:
    box: Latest[int] = Latest(most=2)
    errors: list[Exception] = []
    failed, served = threading.Event(), threading.Event()

    def work(batch: dict[str, int]) -> None:
        if batch['a'] == 1:
            raise ValueError('broken')
        served.set()

    def tell(error: Exception) -> None:
        errors.append(error)
        failed.set()

    worker = Worker(box, work, tell)
    box.put('a', 1)
    assert failed.wait(10)
    box.put('a', 2)
    assert served.wait(10)
    worker.stop()
    assert [str(e) for e in errors] == ['broken']


def test_work_in_order_waits_for_the_last_piece() -> None:
    done: list[tuple[int, str]] = []
    begun, go_on = threading.Event(), threading.Event()

    def work(piece: int) -> None:
        if piece == 1:
            begun.set()
            assert go_on.wait(10)
        done.append((piece, threading.current_thread().name))

    in_order = InOrder(work, lambda exc: None)
    in_order.do(1, beside=True)
    assert begun.wait(10)
    assert done == []
    bringer = threading.Thread(target=in_order.do, args=[2, False], name='bringer')
    bringer.start()
    bringer.join(0.05)
    assert bringer.is_alive()
    go_on.set()
    bringer.join(10)
    assert done == [(1, 'theia-beside_0'), (2, 'bringer')]
    in_order.stop()


@pytest.mark.parametrize('beside', [False, True])
def test_an_error_of_a_piece_in_order_is_told(beside: bool) -> None:
    errors: list[Exception] = []
    done: list[int] = []

    def work(piece: int) -> None:
        if piece == 1:
            raise ValueError('broken')
        done.append(piece)

    in_order = InOrder(work, errors.append)
    in_order.do(1, beside)
    in_order.do(2, beside)
    in_order.stop()
    assert [str(e) for e in errors] == ['broken']
    assert done == [2]


def test_stopping_finishes_what_was_brought() -> None:
    box: Latest[int] = Latest(most=1)
    done: list[dict[str, int]] = []
    in_order = InOrder(done.append, lambda exc: None)
    worker = Worker(box, lambda p: in_order.do(p, not box.empty()), lambda exc: None)
    for item in range(50):
        box.put('a', item)
    worker.stop()
    in_order.stop()
    assert len(done) + box.replaced('a') in (49, 50)  # one may lie in the box when it closes
    assert done == sorted(done, key=lambda batch: batch['a'])
