"""The node as a whole, measured by the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from theia_ros import transport
from theia_ros.cli import main

pytestmark = pytest.mark.needs_ros

PROFILE = Path(__file__).parents[3] / 'config' / 'fastdds.xml'

SPREAD = {'count', 'p50_ms', 'p95_ms', 'p99_ms', 'max_ms'}


@pytest.mark.slow
def test_the_node_as_a_whole(measured, capsys) -> None:
    arguments = ('--ros', '--backends', 'fake', '--model', 'theia-tiny-patch16-224-cddsv')
    rates = ('--rates', '20,max', '--cameras', '2', '--seconds', '0.3', '--image-size', '64x48')
    document = measured(*arguments, *rates)
    assert document['kind'] == 'ros'
    assert document['settings']['rates'] == [20.0, 'max']
    assert document['transport']
    (node,) = document['nodes']
    assert (node['engine'], node['cameras']) == ('fake fp32', 2)
    assert node['startup_s'] > 0
    assert node['peak_mb'] > 50
    fixed, highest = document['rows']
    assert (fixed['search'], highest['search']) == (False, True)
    for row in document['rows']:
        assert row['sent_hz'] > 0
        assert set(row['latency']) == SPREAD
        assert {'received', 'encoded', 'dropped'} <= set(row['counters'])
        assert row['counters']['received'] > 0
        assert {'preprocess', 'compute', 'receive_to_publish'} <= set(row['steps'])
        difference = row['receive_to_publish_ms'] - row['steps']['compute']['p50_ms']
        assert row['node_overhead_ms'] == pytest.approx(difference)
    assert 'fake fp32' in capsys.readouterr().out


def test_a_node_that_does_not_start_says_why(capsys) -> None:
    arguments = ['--ros', '--backends', 'torch', '--model', 'theia-tiny-patch16-224-cddsv']
    assert main(['bench', *arguments]) == 2
    said = capsys.readouterr().err
    assert 'the process theia ended; it said: ' in said
    assert 'is not on this machine yet' in said


@pytest.mark.parametrize(
    ('name', 'value', 'says'),
    [
        (None, '', 'FASTDDS_BUILTIN_TRANSPORTS=LARGE_DATA'),
        ('FASTDDS_BUILTIN_TRANSPORTS', 'UDPv4', 'FASTDDS_BUILTIN_TRANSPORTS=UDPv4'),
        (transport.HUMBLE_PROFILE, str(PROFILE), 'FASTRTPS_DEFAULT_PROFILES_FILE=fastdds.xml'),
    ],
)
def test_a_transport_is_chosen_where_nobody_has(name, value, says, monkeypatch) -> None:
    from theia_ros.bench.ros_process import ros

    for variable in transport.VARIABLES:  # set, so that what is set now is undone
        monkeypatch.setenv(variable, '')
    if name:
        monkeypatch.setenv(name, value)
    with ros() as found:
        assert found == says
