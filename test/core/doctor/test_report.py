from __future__ import annotations

import json
import math

from theia_ros.doctor import report
from theia_ros.doctor.finding import error
from theia_ros.doctor.finding import ok
from theia_ros.doctor.finding import warning
from theia_ros.doctor.finding import worst

BAD = error('rclpy', 'not there', 'it is\n missing', 'source it', 'build it')


def test_each_finding_is_a_line_with_cures_indented() -> None:
    assert report.lines(ok('Python', '3.11.7')) == ['  ok       Python: 3.11.7']
    assert report.lines(BAD) == [
        '  ERROR    rclpy: not there',
        '           it is missing',
        '           cure: source it',
        '           or:   build it',
    ]


def test_colour_is_asked_for() -> None:
    assert '\x1b' not in ''.join(report.lines(BAD))
    assert report.lines(BAD, coloured=True)[0] == '  \x1b[31;1mERROR  \x1b[0m  rclpy: not there'


def test_the_verdict_counts() -> None:
    good, odd = ok('a', 'b'), warning('a', 'b', 'c')
    assert report.verdict([]) == '0 errors, 0 warnings: the encoder node would run'
    assert report.verdict([good, odd]) == '0 errors, 1 warning: the encoder node would run'
    assert report.verdict([BAD, odd]) == '1 error, 1 warning: the encoder node would not run'
    assert [worst(f).name for f in ([], [good, odd], [odd, BAD])] == ['OK', 'WARNING', 'ERROR']


def test_programs_get_everything_and_no_nan() -> None:
    odd = error('parity clip', 'x', 'y', cosine=math.nan, good=False, max_abs_error=0.5)
    told = json.loads(report.document([('Engine', odd)]))
    assert told['would_run'] is False
    (finding,) = told['findings']
    assert finding['figures'] == {'cosine': None, 'good': False, 'max_abs_error': 0.5}
    assert (finding['group'], finding['level'], finding['cures']) == ('Engine', 'error', [])
