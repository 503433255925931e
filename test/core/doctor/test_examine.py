from __future__ import annotations

from core.doctor.conftest import failed

from theia_ros.doctor.examine import CHECKS
from theia_ros.doctor.examine import examine
from theia_ros.doctor.finding import ok


def test_a_check_that_fails_itself_stops_no_other(facts) -> None:
    def broken(_):
        yield ok('first', 'half')
        raise ZeroDivisionError('by nothing')

    def good(_):
        yield ok('second', 'fine')

    told = []
    examine(facts(), lambda group, finding: told.append((group, finding)), {'G': (broken, good)})
    assert [(group, f.name, f.level.name) for group, f in told] == [
        ('G', 'first', 'OK'),
        ('G', 'test_examine.broken', 'WARNING'),
        ('G', 'second', 'OK'),
    ]
    assert told[1][1].wrong == 'this check failed itself: ZeroDivisionError: by nothing'


def test_where_nothing_at_all_works_every_check_still_says_what_it_can(facts, tmp_path) -> None:
    made = facts(python=(3, 6, 0), shared_memory=tmp_path / 'none')
    made.ask = lambda *_, **__: failed('it crashed with SIGSEGV')
    told = []
    examine(made, lambda group, finding: told.append((group, finding)))
    assert {group for group, _ in told} == set(CHECKS)
    assert not [f for _, f in told if 'this check failed itself' in f.wrong]
    errors = {f.name for _, f in told if f.level.name == 'ERROR'}
    assert errors == {'Python', 'rclpy', 'theia_msgs', 'torch', 'model'}
