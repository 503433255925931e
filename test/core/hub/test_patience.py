import pytest

from theia_ros.errors import WeightsError
from theia_ros.hub import patience
from theia_ros.hub.patience import patiently
from theia_ros.hub.patience import TransientError


@pytest.fixture
def slept_s(monkeypatch):
    """The pauses, which nobody waits for."""
    pauses_s = []
    monkeypatch.setattr(patience.time, 'sleep', pauses_s.append)
    return pauses_s


def test_pauses_grow_and_end(slept_s):
    lines = []

    def fail():
        raise TransientError('the server says 500')

    with pytest.raises(WeightsError, match=r'the server says 500 \(tried 5 times\)'):
        patiently(fail, lines.append)
    assert slept_s == [1, 2, 4, 8]
    assert lines[2] == 'the server says 500; trying again in 4 s'


@pytest.mark.parametrize(('asked_s', 'expected_s'), [(0.0, 1), (7.0, 7), (9999.0, 60)])
def test_a_server_may_ask_for_a_longer_pause(slept_s, asked_s, expected_s):
    outcomes = [TransientError('the server says 429', asked_s), None]

    def work():
        if error := outcomes.pop(0):
            raise error
        return 'done'

    assert patiently(work, [].append) == 'done'
    assert slept_s == [expected_s]
