"""The subscriber of a policy: topics in, observations out, in a node of the user's or its own."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import rclpy
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock
from rclpy.clock import ClockType
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException
from rclpy.executors import MultiThreadedExecutor
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from theia_msgs.msg import EncoderInfo
from theia_msgs.msg import FeatureTensor

from theia_ros.catalog import BACKBONE
from theia_ros.catalog import feature_topic
from theia_ros.client.inbox import Counts
from theia_ros.client.inbox import Inbox
from theia_ros.client.inbox import Reader
from theia_ros.client.observations import Observation
from theia_ros.client.observations import Window
from theia_ros.client.origin import Origin
from theia_ros.errors import FeatureError
from theia_ros.errors import ParameterError
from theia_ros.errors import StaleError
from theia_ros.nodes import qos

_DEPTH = 10
_DEPTH_FOLLOWED = 100
"""A tenth of a second of joint states at 1 kHz, should the thread be busy as long."""
_WAKE_S = 0.5
_numbers = itertools.count(1)


class FeatureSubscriber:
    """Receive the features of one or many cameras, and hand them out as a policy needs them.

    In a node of the user's, the user spins it. Without one, it makes a node of its own and spins
    that in a thread; use it as a context manager then, or close it. It may be used from several
    threads.
    """

    def __init__(
        self,
        cameras: str | Sequence[str],
        *,
        node: Node | None = None,
        encoder: str = '/theia',
        tensor: str = BACKBONE,
        window: Window | None = None,
        trained_with: Origin | str | None = None,
        max_age_s: float = 0.5,
        reliability: str = 'reliable',
    ) -> None:
        """Subscribe.

        Args:
            cameras: Names, as in the encoder's parameters.
            node: Subscribes; None makes one, in the default context if that was initialised.
            encoder: Name of the encoder node, with its namespace.
            tensor: `theia` for the backbone, or a teacher's name.
            window: Which instants an observation has; one by default.
            trained_with: What the features must be made with, or its digest: others are refused.
                None takes any, and begins anew when it changes.
            max_age_s: Features that are older are handed out no more, seconds.
            reliability: `reliable`, or `best_effort` as well if the encoder publishes so.

        Raises:
            ParameterError: A value makes no sense.
        """
        self._inbox = Inbox(
            cameras, window, tensor=tensor, trained_with=trained_with, max_age_s=max_age_s
        )
        if reliability not in ('reliable', 'best_effort'):
            raise ParameterError(
                f'reliability is {reliability!r}; expected reliable or best_effort'
            )
        self._topics = {
            camera: f'{encoder}/{camera}/{feature_topic(tensor)}' for camera in self._inbox.counts
        }
        self._changed = threading.Condition()
        self._handed_ns: int | None = None
        self._spinning: int | None = None  # thread that serves a user's node
        self._own: _OwnNode | None = None
        if node is None:
            self._own = _OwnNode()
            node = self._own.node
        self._node = node
        # Of its own, so that a callback of the user's may wait while another thread serves these.
        self._group = MutuallyExclusiveCallbackGroup()
        self._subscriptions = [
            self._subscribe(
                FeatureTensor, topic, self._receiver(camera), qos.stream(reliability, _DEPTH)
            )
            for camera, topic in self._topics.items()
        ]
        self._subscriptions.append(
            self._subscribe(EncoderInfo, f'{encoder}/info', self._learn, qos.INFO)
        )
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._first_spin = self._node.create_timer(
            0.0, self._note_thread, callback_group=self._group, clock=steady
        )
        self._jumps = self._node.get_clock().create_jump_callback(
            JumpThreshold(
                min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True
            ),
            post_callback=self._clock_jumped,
        )
        if self._own:
            self._own.start()

    def follow(
        self,
        topic: str,
        message: type,
        read: Reader,
        *,
        name: str = '',
        max_gap_s: float | None = None,
        profile: QoSProfile | int = _DEPTH_FOLLOWED,
    ) -> None:
        """Align another topic with the features: each instant gets the newest value before it.

        Args:
            topic: Such as `/joint_states`.
            message: Its type; one without a header counts from when it came.
            read: Makes an array or a number of a message, always of the same shape; None skips
                the message.
            name: Under which it is handed out; the topic's by default.
            max_gap_s: An instant whose value is older has a gap; the window's by default.
                Infinite for what is said once and stays true.
            profile: Quality of service, or the depth of the default one.

        Raises:
            ParameterError: The name is taken, or the gap makes no sense.
        """
        name = name or topic
        with self._changed:
            self._inbox.follow(name, read, max_gap_s)
        self._topics[name] = topic

        def received(msg: Any) -> None:
            self._take(lambda now_ns: self._inbox.put_followed(name, msg, now_ns))

        self._subscriptions.append(self._subscribe(message, topic, received, profile))

    def newest(self) -> Observation:
        """Return the newest observation, at once.

        Raises:
            FeatureError: There is none, and the message says why: StaleError, GapError,
                ProvenanceError. Stop safely, and ask again.
        """
        try:
            with self._changed:
                return self._hand_out()
        except StaleError as exc:
            raise self._explained(exc) from None

    def wait(self, timeout_s: float) -> Observation:
        """Wait for an observation that is newer than the last one handed out, and return it.

        Args:
            timeout_s: How long to wait at most, seconds of the steady clock.

        Raises:
            FeatureError: There was none in time, and the message says why; or features came that
                are refused.
            ParameterError: It is called where it would wait for itself.
        """
        self._check_may_wait()
        end = time.monotonic() + timeout_s
        error: FeatureError | None = None
        with self._changed:
            refused = self._inbox.refused
            while True:
                if self._inbox.refused > refused and (refusal := self._inbox.refusal):
                    raise refusal  # no use in waiting for another encoder
                if self._inbox.instant_ns not in (None, self._handed_ns):
                    try:
                        return self._hand_out()
                    except FeatureError as exc:
                        error = exc
                left_s = end - time.monotonic()
                if left_s <= 0:
                    break
                self._changed.wait(left_s)
        if error is None:
            self.newest()
            error = StaleError(f'no newer features have come within {timeout_s:g} s')
        raise self._explained(error) if isinstance(error, StaleError) else error

    @property
    def origin(self) -> Origin | None:
        """What the features are made with, to be kept with a policy; None before there are any.

        Only its digest is known as long as the encoder has not told the rest.
        """
        with self._changed:
            return self._inbox.origin

    @property
    def counts(self) -> Mapping[str, Counts]:
        """What became of the messages, by camera and by the name of what is followed."""
        return self._inbox.counts

    @property
    def node(self) -> Node:
        """The node that subscribes."""
        return self._node

    def close(self) -> None:
        """Unsubscribe, and end the node if it is its own; closing twice is harmless."""
        if self._own:
            self._own.stop()
        self._jumps.unregister()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []
        self._node.destroy_timer(self._first_spin)
        if self._own:
            self._own.destroy()

    def __enter__(self) -> FeatureSubscriber:
        """Return the subscriber itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    # --- on the thread that spins the node ------------------------------------------------------

    def _receiver(self, camera: str) -> Callable[[FeatureTensor], None]:
        def received(msg: FeatureTensor) -> None:
            self._take(lambda now_ns: self._inbox.put(camera, msg, now_ns))

        return received

    def _learn(self, msg: EncoderInfo) -> None:
        self._take(lambda _: self._inbox.learn(msg))

    def _take(self, put: Callable[[int], str]) -> None:
        now_ns = self._now_ns()
        with self._changed:
            line = put(now_ns)
            self._changed.notify_all()
        if line:
            self._node.get_logger().warning(line)

    def _clock_jumped(self, jump: Any) -> None:
        with self._changed:
            self._inbox.forget()
            self._handed_ns = None
        back_s = -jump.delta.nanoseconds / 1e9
        what = f'jumped back by {back_s:.3f} s' if back_s > 0 else 'is another one from now on'
        self._node.get_logger().warning(f'the clock {what}: observations begin anew')

    def _note_thread(self) -> None:
        self._spinning = threading.get_ident()
        self._first_spin.cancel()

    # --- the rest -------------------------------------------------------------------------------

    def _subscribe(
        self, message: type, topic: str, callback: Callable[[Any], None], profile: QoSProfile | int
    ) -> Any:
        sentence = qos.mismatch(topic, 'publisher', 'ask for best_effort, or change the publisher')

        def warn(event: object) -> None:
            self._node.get_logger().warning(sentence(event))

        events = {'incompatible_qos': warn}
        while True:
            try:
                return self._node.create_subscription(
                    message,
                    topic,
                    callback,
                    profile,
                    callback_group=self._group,
                    event_callbacks=qos.SubscriptionEventCallbacks(**events),
                )
            except qos.UnsupportedEventTypeError:
                if not events:
                    raise
                events = {}  # some middlewares cannot tell

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def _hand_out(self) -> Observation:
        observation = self._inbox.observe(self._now_ns())
        self._handed_ns = observation.stamp_ns
        return observation

    def _check_may_wait(self) -> None:
        if self._own:
            return
        executor, name = self._node.executor, self._node.get_name()
        if executor is None:
            raise ParameterError(
                f'wait() needs somebody who spins the node {name}; spin it in another thread, or '
                'leave the node out'
            )
        alone = not isinstance(executor, MultiThreadedExecutor)
        if alone and self._spinning == threading.get_ident():
            raise ParameterError(
                f'wait() was called on the thread that spins the node {name}, and would wait for '
                'itself; use newest(), or leave the node out'
            )

    def _explained(self, error: StaleError) -> StaleError:
        """Add what the graph tells of a topic that nothing has come of."""
        if not error.silent:
            return error
        topic = self._node.resolve_topic_name(self._topics[error.silent[0]])
        if self._node.count_publishers(topic):
            reason = f'{topic} is published; has its camera images, and does its QoS match?'
        else:
            reason = f'nobody publishes {topic}; is the encoder active, and the name right?'
        return StaleError(f'{error}: {reason}', error.silent)


class _OwnNode:
    """A node and the thread that spins it."""

    def __init__(self) -> None:
        context = rclpy.get_default_context()
        self._context: rclpy.Context | None = None
        if not context.ok():
            context = self._context = rclpy.Context()
            # Signals stay the program's.
            rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
        name = f'theia_client_{os.getpid()}_{next(_numbers)}'
        self.node = rclpy.create_node(name, context=context)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)
        self._stopped = False
        self._thread = threading.Thread(target=self._spin, name='theia-client', daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped = True
        if self._thread.is_alive():
            self._executor.wake()
            self._thread.join()

    def destroy(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        if self._context:
            rclpy.try_shutdown(context=self._context)

    def _spin(self) -> None:
        try:
            while not self._stopped and self.node.context.ok():
                self._executor.spin_once(timeout_sec=_WAKE_S)
        except ExternalShutdownException:
            pass
