"""Transitions that tell what went wrong."""

from __future__ import annotations

import pytest
from rclpy.lifecycle import TransitionCallbackReturn

from theia_ros.errors import EngineError
from theia_ros.nodes.transitions import reported

pytestmark = pytest.mark.needs_ros


class Logger:
    def __init__(self):
        self.errors = []

    def error(self, text):
        self.errors.append(text)


class Node:
    """Something with a logger, and a transition that goes as it is told."""

    def __init__(self, problem=None):
        self.problem = problem
        self.states = []
        self.logger = Logger()

    def get_logger(self):
        return self.logger

    @reported
    def on_configure(self, state):
        """Say what it does."""
        self.states.append(state)
        if self.problem:
            raise self.problem


def test_transition_that_returns_succeeds():
    node = Node()

    assert node.on_configure('the state') == TransitionCallbackReturn.SUCCESS
    assert node.states == ['the state']
    assert node.logger.errors == []


def test_expected_error_fails_with_one_line():
    node = Node(EngineError('device cuda:7 is not there; use one of auto, cpu'))

    assert node.on_configure(None) == TransitionCallbackReturn.FAILURE
    assert node.logger.errors == ['on_configure: device cuda:7 is not there; use one of auto, cpu']


def test_bug_is_an_error_with_its_traceback():
    node = Node(ZeroDivisionError('oh'))

    assert node.on_configure(None) == TransitionCallbackReturn.ERROR
    (text,) = node.logger.errors
    assert text.startswith('on_configure: Traceback (most recent call last):')
    assert 'ZeroDivisionError: oh' in text


@pytest.mark.parametrize('problem', [KeyboardInterrupt, SystemExit])
def test_request_to_end_is_not_held_up(problem):
    with pytest.raises(problem):
        Node(problem()).on_configure(None)


def test_transition_keeps_its_name():
    assert Node.on_configure.__name__ == 'on_configure'
    assert Node.on_configure.__doc__ == 'Say what it does.'
