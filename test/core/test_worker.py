from __future__ import annotations

import threading

from theia_ros.latest import Latest
from theia_ros.worker import Handover
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


def test_a_handover_loses_nothing_and_makes_the_bringer_wait() -> None:
    place: Handover[int] = Handover()
    place.put(1)
    bringer = threading.Thread(target=place.put, args=[2])
    bringer.start()
    bringer.join(0.05)
    assert bringer.is_alive()
    assert place.take() == 1
    bringer.join(10)
    place.close()
    assert place.take() == 2
    assert place.take() is None


def test_stopping_the_second_worker_finishes_what_the_first_brought() -> None:
    box: Latest[int] = Latest(most=1)
    place: Handover[dict[str, int]] = Handover()
    done: list[dict[str, int]] = []
    first = Worker(box, place.put, lambda exc: None)
    second = Worker(place, done.append, lambda exc: None)
    for item in range(50):
        box.put('a', item)
    first.stop()
    second.stop()
    assert len(done) + box.replaced('a') in (49, 50)  # one may lie in the box when it closes
    assert done == sorted(done, key=lambda batch: batch['a'])
