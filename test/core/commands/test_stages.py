from __future__ import annotations

import io
import re
import time

from theia_ros.commands.stages import Stages


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def without_times(stream: io.StringIO) -> str:
    """Return what was shown, but for the seconds, which are more where a machine is busy."""
    return re.sub(r' +\d+ s  ', '', stream.getvalue())


def test_stages_are_lines_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    with Stages(0, stream) as report:
        for stage in ('one', 'one', 'two'):
            report(stage)
    assert without_times(stream) == 'one\ntwo\n'


def test_stages_share_a_line_on_a_terminal_and_leave_it_empty() -> None:
    stream = Terminal()
    with Stages(0, stream) as report:
        report('a long stage')
        report('short')
    shown = without_times(stream)
    assert '\n' not in shown
    assert '\ra long stage\rshort       ' in shown
    assert shown.endswith('\r')


def test_what_is_quick_shows_nothing() -> None:
    stream = io.StringIO()
    with Stages(60, stream) as report:
        report('quick')
    assert stream.getvalue() == ''


def test_why_something_is_built_is_shown_however_quick_it_is() -> None:
    stream = io.StringIO()
    with Stages(60, stream) as report:
        report('quick')
        report('theia: building, none is stored yet')
        report('theia: exporting')
    assert without_times(stream) == 'theia: building, none is stored yet\ntheia: exporting\n'


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
