from __future__ import annotations

from theia_ros.bench import report


def test_table_is_aligned() -> None:
    found = report.table([('NAME', 'ms'), ('a', '1.5'), ('long name', '10.25')])
    assert found.splitlines() == ['NAME          ms', 'a            1.5', 'long name  10.25']
