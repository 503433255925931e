from __future__ import annotations

import pytest

from theia_ros.rate import RateLimit

S = 1_000_000_000


def passed(stamps_ns: list[int], max_rate_hz: float) -> list[int]:
    limit = RateLimit()
    through = []
    for now_ns in stamps_ns:
        if limit.allows(now_ns):
            limit.count(now_ns, max_rate_hz)
            through.append(now_ns)
    return through


@pytest.mark.parametrize(
    ('sent_hz', 'max_rate_hz', 'expected'),
    [(30, 10, 10), (30, 20, 20), (30, 29, 29), (30, 30, 30), (30, 60, 30), (30, 0, 30)],
)
def test_the_mean_rate_is_reached(sent_hz: int, max_rate_hz: float, expected: int) -> None:
    seconds = 10
    stamps = [5 * S + i * S // sent_hz for i in range(seconds * sent_hz)]
    assert len(passed(stamps, max_rate_hz)) == pytest.approx(seconds * expected, abs=2)


def test_no_burst_after_a_pause() -> None:
    before, after = [0, S], [10 * S, 10 * S + S // 10, 10 * S + S // 5]
    assert passed(before + after, 1.0) == [0, S, 10 * S]


def test_a_changed_limit_holds_from_the_next_time_on() -> None:
    limit = RateLimit()
    limit.count(0, 1.0)
    assert not limit.allows(S // 2)
    limit.count(S, 0.0)
    assert limit.allows(S)
