"""Lifecycle transitions that say what went wrong."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleState
from rclpy.lifecycle import TransitionCallbackReturn

from theia_ros.errors import TheiaRosError

Transition = Callable[[Any, LifecycleState], TransitionCallbackReturn]


def reported(transition: Callable[[Any, LifecycleState], None]) -> Transition:
    """Make a transition of a method: expected errors fail with one line, bugs with a traceback.

    rclpy by itself turns every exception of a transition into ERROR without a word.
    """

    @functools.wraps(transition)
    def wrapper(self: Any, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            transition(self, state)
        except TheiaRosError as exc:
            self.get_logger().error(f'{transition.__name__}: {exc}')
            return TransitionCallbackReturn.FAILURE
        except Exception:
            self.get_logger().error(f'{transition.__name__}: {traceback.format_exc()}')
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

    return wrapper
