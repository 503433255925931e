from __future__ import annotations

from dataclasses import fields

import pytest

from theia_ros.errors import ParameterError
from theia_ros.params import choices
from theia_ros.params import make
from theia_ros.params import NodeParams


def test_defaults_are_within_their_own_limits() -> None:
    params = NodeParams()
    assert params.cameras == ('camera',)
    assert params.preprocessing == 'official'


def test_every_parameter_has_a_meaning_that_ends_in_a_full_stop() -> None:
    for field in fields(NodeParams):
        assert field.metadata['doc'].endswith('.'), field.name


@pytest.mark.parametrize(
    ('values', 'said'),
    [
        pytest.param(
            {'precision': 'fp8'}, "precision is 'fp8'; use one of auto, fp32", id='choice'
        ),
        pytest.param({'model': 3}, 'model is 3; expected a string', id='type'),
        pytest.param({'autostart': 1}, 'autostart is 1; expected true or false', id='bool'),
        pytest.param({'map_width_px': 640.0}, 'is 640.0; expected an integer', id='int'),
        pytest.param({'map_width_px': 8}, 'map_width_px is 8; use 16 to 8192', id='low'),
        pytest.param({'no_image_warning_s': -1.0}, 'use 0.0 to 3600.0', id='negative'),
        pytest.param({'no_image_warning_s': float('nan')}, 'use 0.0 to 3600.0', id='nan'),
        pytest.param({'modle': 'x'}, "unknown parameter 'modle'; known: autostart", id='name'),
        pytest.param({'cameras': []}, 'cameras is empty', id='none'),
        pytest.param({'cameras': 'front'}, "'front'; expected a list of strings", id='no-list'),
        pytest.param({'cameras': [1]}, 'is 1; expected a list of strings', id='list-of-ints'),
        pytest.param({'max_rate_hz': ['x']}, "'x'; expected a list of numbers", id='rates'),
        pytest.param({'max_rate_hz': [1.0, -1.0]}, 'is -1.0; use 0.0 to 1000.0', id='rate'),
        pytest.param({'max_rate_hz': [1.0, 2.0]}, 'max_rate_hz has 2 values; give', id='few'),
        pytest.param({'cameras': ['a', 'b']}, 'cameras names 2 and image_topics 1', id='lengths'),
        pytest.param(
            {'cameras': ['a', 'a'], 'image_topics': ['x', 'y']},
            'camera a is named twice',
            id='twice',
        ),
        pytest.param({'cameras': ['front/left']}, "camera 'front/left' cannot be", id='slash'),
        pytest.param({'cameras': ['vorn_ö']}, "camera 'vorn_ö' cannot be", id='ascii'),
    ],
)
def test_a_bad_value_is_named(values, said) -> None:
    with pytest.raises(ParameterError) as caught:
        make(NodeParams, values)
    assert said in str(caught.value)
    assert '\n' not in str(caught.value)


def test_a_whole_number_is_a_number() -> None:
    assert make(NodeParams, {'no_image_warning_s': 3}).no_image_warning_s == 3


def test_choices_are_those_of_the_parameter() -> None:
    assert choices('reduction') == ('none', 'cls', 'mean', 'max', 'identity')
