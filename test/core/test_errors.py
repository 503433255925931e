from __future__ import annotations

import pytest

from theia_ros.errors import first_line


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('', 'ValueError'),
        ('  \n', 'ValueError'),
        ('one', 'one'),
        ('\none\ntwo', 'one'),
        (
            'Exception from src/inference/infer_request.cpp:117:\nCheck failed:\n  no port\nmore',
            'Exception from src/inference/infer_request.cpp:117: Check failed: no port',
        ),
        ('ends with:', 'ends with:'),
    ],
)
def test_the_first_line_goes_on_after_a_colon(text: str, expected: str) -> None:
    assert first_line(ValueError(text)) == expected
