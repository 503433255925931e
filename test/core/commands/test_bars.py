from __future__ import annotations

import re

from theia_ros.commands.bars import Bars


def test_each_stage_has_a_bar_that_says_what_changes(capsys) -> None:
    with Bars(delay_s=0) as progress:
        progress('reading pictures', 1, 3)
        progress('training, loss 0.51', 0, 20)
        progress('training, loss 0.25', 20, 20)
    said = capsys.readouterr()
    assert said.out == ''
    lines = [line for line in re.split('[\r\n]', said.err) if line]
    assert lines[0].startswith('reading pictures:  33%')
    assert '20/20' in lines[-1]
    assert 'loss 0.25' in lines[-1]
    assert sum('training: 100%' in line for line in said.err.split('\n')) == 1


def test_what_is_quick_shows_nothing(capsys) -> None:
    with Bars() as progress:
        progress('reading pictures', 0, 3)
        progress('reading pictures', 3, 3)
    assert capsys.readouterr().err == ''
