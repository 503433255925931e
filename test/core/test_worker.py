from __future__ import annotations

import threading

from theia_ros.latest import Latest
from theia_ros.worker import Worker


def test_batches_arrive_and_stopping_finishes_the_one_in_hand() -> None:
    box: Latest[int] = Latest()
    begun, go_on = threading.Event(), threading.Event()
    done: list[dict[str, int]] = []

    def work(batch: dict[str, int]) -> None:
        begun.set()
        assert go_on.wait(10)
        done.append(batch)

    worker = Worker(box, work, lambda exc: None, most=2)
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
    box: Latest[int] = Latest()
    errors: list[Exception] = []
    failed, served = threading.Event(), threading.Event()

    def work(batch: dict[str, int]) -> None:
        if batch['a'] == 1:
            raise ValueError('broken')
        served.set()

    def tell(error: Exception) -> None:
        errors.append(error)
        failed.set()

    worker = Worker(box, work, tell, most=1)
    box.put('a', 1)
    assert failed.wait(10)
    box.put('a', 2)
    assert served.wait(10)
    worker.stop()
    assert [str(e) for e in errors] == ['broken']
