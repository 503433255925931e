from __future__ import annotations

import io
import re
import time

import pytest

from theia_ros.commands.stages import Stages


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def without_times(stream: io.StringIO) -> str:
    """Return what was shown, but for the seconds, which are more where a machine is busy."""
    return re.sub(r' +\d+ s  ', '', stream.getvalue())


@pytest.mark.parametrize(
    ('delay_s', 'stages', 'shown'),
    [
        pytest.param(0, ('one', 'one', 'two'), 'one\ntwo\n', id='each-a-line'),
        pytest.param(60, ('quick',), '', id='what-is-quick-shows-nothing'),
        pytest.param(
            60,
            ('quick', 'theia: building, none is stored yet', 'theia: exporting'),
            'theia: building, none is stored yet\ntheia: exporting\n',
            id='why-something-is-built-however-quick-it-is',
        ),
    ],
)
def test_stages_are_lines_where_there_is_no_terminal(delay_s, stages, shown) -> None:
    stream = io.StringIO()
    with Stages(delay_s, stream) as report:
        for stage in stages:
            report(stage)
    assert without_times(stream) == shown


def test_stages_share_a_line_on_a_terminal_and_leave_it_empty() -> None:
    stream = Terminal()
    with Stages(0, stream) as report:
        report('a long stage')
        report('short')
    shown = without_times(stream)
    assert '\n' not in shown
    assert '\ra long stage\rshort       ' in shown
    assert shown.endswith('\r')


def test_why_something_is_built_stays_on_a_terminal() -> None:
    stream = Terminal()
    with Stages(60, stream) as report:
        report('theia: building, m.engine is damaged')
        report('theia: exporting')
    shown = without_times(stream)
    assert shown.startswith('\rtheia: building, m.engine is damaged\n\rtheia: exporting\r')
    assert shown.endswith('\r')


def test_a_stage_is_shown_once_the_delay_is_over() -> None:
    stream = io.StringIO()
    with Stages(0.1, stream) as report:
        report('slow')
        deadline = time.monotonic() + 10
        while not stream.getvalue() and time.monotonic() < deadline:
            time.sleep(0.05)
    assert stream.getvalue().endswith(' s  slow\n')
