"""What tests of the node share: a peer on the same graph, and nodes that end with the test."""

from __future__ import annotations

import contextlib

import pytest
from helpers.ros_peer import FAKE
from helpers.ros_peer import NodeProcess
from helpers.ros_peer import Peer

STARTED = {**FAKE, 'autostart': True}


@pytest.fixture
def peer(domain):
    with Peer(domain) as peer:
        yield peer


@pytest.fixture
def start(domain, tmp_path):
    """Start encoder nodes that end with the test."""
    with contextlib.ExitStack() as stack:
        count = iter(range(100))

        def start(parameters=STARTED, *ros_args, **options):
            folder = tmp_path / f'node_{next(count)}'
            folder.mkdir()
            return stack.enter_context(NodeProcess(folder, parameters, *ros_args, **options))

        yield start
