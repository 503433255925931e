"""The encoder node: camera topics in, features and maps out.

Callbacks only store the newest message of each camera; one thread converts, encodes and
publishes. What configure takes, cleanup gives back; what activate opens, deactivate closes.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections import defaultdict
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.lifecycle import LifecycleNode
from rclpy.lifecycle import LifecyclePublisher
from rclpy.lifecycle import LifecycleState
from rclpy.lifecycle import TransitionCallbackReturn
from std_msgs.msg import Header
from theia_msgs.msg import EncoderInfo

from theia_ros.conversions import message_from_provenance
from theia_ros.datatypes import Encoded
from theia_ros.datatypes import Frame
from theia_ros.encoder import Encoder
from theia_ros.errors import FrameError
from theia_ros.errors import TheiaRosError
from theia_ros.latest import Latest
from theia_ros.nodes import qos
from theia_ros.nodes import ros_params
from theia_ros.nodes.camera import Camera
from theia_ros.nodes.camera import CameraMessage
from theia_ros.nodes.diagnostics import camera_status
from theia_ros.nodes.diagnostics import engine_status
from theia_ros.nodes.outputs import CameraOutputs
from theia_ros.nodes.process import run_node
from theia_ros.nodes.transitions import reported
from theia_ros.params import NodeParams
from theia_ros.worker import Worker


class EncoderNode(LifecycleNode):
    """Lifecycle node that serves any number of cameras with one engine."""

    def __init__(self, **kwargs: Any) -> None:
        """Declare the parameters; nothing else is taken before configure.

        Raises:
            ParameterError: A parameter was given that does not exist.
        """
        # Before anything that can fail: rclpy destroys a half-made node as any other.
        self._params: NodeParams | None = None
        self._encoder: Encoder | None = None
        self._info: LifecyclePublisher | None = None
        self._info_message: EncoderInfo | None = None
        self._cameras: dict[str, Camera] = {}
        self._outputs: dict[str, CameraOutputs] = {}
        self._box: Latest[CameraMessage] = Latest()
        self._worker: Worker[CameraMessage] | None = None
        self._failures = 0
        self._warned: set[tuple[str, str]] = set()
        super().__init__('theia', **kwargs)
        ros_params.declare(self)
        ros_params.watch(self, lambda: self._params, self._use_params)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._every_second = self.create_timer(1.0, self._check_and_tell)
        self._autostart = self.create_timer(0.0, self._start)

    # --- transitions ---------------------------------------------------------------------------

    @reported
    def on_configure(self, state: LifecycleState) -> None:
        """Load the model, open the engine and create the publishers."""
        started = time.monotonic()
        params = ros_params.read(self)
        encoder = Encoder(params)
        self._params, self._encoder = params, encoder
        topics = dict(zip(params.cameras, params.image_topics, strict=True))
        for camera, topic in topics.items():
            name = self.resolve_topic_name(topic)
            self._cameras[camera] = Camera(camera, name, time.monotonic_ns)
            self._outputs[camera] = CameraOutputs(self, camera, params, encoder)
        self._info = self.create_lifecycle_publisher(EncoderInfo, '~/info', qos.INFO)
        self._info_message = message_from_provenance(
            encoder.provenance,
            params.feature_dtype,
            self.get_clock().now().to_msg(),
            {camera.name: camera.topic for camera in self._cameras.values()},
        )
        recipe = encoder.provenance.recipe
        self.get_logger().info(
            f'configured in {time.monotonic() - started:.1f} s: {params.model}, {recipe.backend} '
            f'{recipe.precision} on {encoder.provenance.device}, gives '
            f'{", ".join((*encoder.tensors, *encoder.maps))}'
        )

    @reported
    def on_activate(self, state: LifecycleState) -> None:
        """Open the outlets, then the inlets."""
        super().on_activate(state)
        self._info.publish(self._info_message)
        self._box = Latest()
        self._worker = Worker(
            self._box, self._encode_batch, self._batch_failed, most=self._encoder.max_batch
        )
        for camera in self._cameras.values():
            camera.open(self, self._params, self._box.put)
        listening = ', '.join(f'{c.name} on {c.topic}' for c in self._cameras.values())
        self.get_logger().info(f'active: {listening}')

    @reported
    def on_deactivate(self, state: LifecycleState) -> None:
        """Close the inlets, then the outlets."""
        self._close_inlets()
        super().on_deactivate(state)

    @reported
    def on_cleanup(self, state: LifecycleState) -> None:
        """Give back all that configure took."""
        self._release()

    @reported
    def on_shutdown(self, state: LifecycleState) -> None:
        """Give back everything, whatever the state."""
        self._close_inlets()
        self._release()

    @reported
    def on_error(self, state: LifecycleState) -> None:
        """Give back everything, so that the node can be configured again."""
        self._close_inlets()
        self._release()

    def destroy_node(self) -> None:
        """Give back everything before the node goes."""
        self._close_inlets()
        self._release()
        super().destroy_node()

    def _close_inlets(self) -> None:
        for camera in self._cameras.values():
            camera.close(self)
        if self._worker:
            self._worker.stop()
            self._worker = None

    def _release(self) -> None:
        for outputs in self._outputs.values():
            outputs.destroy()
        if self._info:
            self.destroy_lifecycle_publisher(self._info)
        if self._encoder:
            self._encoder.close()
        self._cameras, self._outputs = {}, {}
        self._params = self._encoder = self._info = self._info_message = None
        self._failures = 0
        self._warned.clear()

    # --- the way of a picture, on the worker's thread ------------------------------------------

    def _encode_batch(self, messages: dict[str, CameraMessage]) -> None:
        """Encode the newest pictures; those that need the same outputs go as one batch."""
        frames: dict[frozenset[str], dict[str, Frame]] = defaultdict(dict)
        for camera, msg in messages.items():
            wanted = self._outputs[camera].wanted()
            if not wanted:
                self._cameras[camera].unwanted += 1
                continue
            try:
                frames[wanted][camera] = self._cameras[camera].frame(msg)
            except FrameError as exc:
                self._refuse(camera, exc)
        for wanted, batch in frames.items():
            for camera, encoded in self._encode(batch, wanted).items():
                self._outputs[camera].publish(encoded)
                self._cameras[camera].encoded += 1

    def _encode(self, batch: dict[str, Frame], wanted: frozenset[str]) -> dict[str, Encoded]:
        try:
            encoded = self._encoder.encode(list(batch.values()), wanted)
        except FrameError as exc:
            if len(batch) == 1:
                self._refuse(next(iter(batch)), exc)
                return {}
            # One camera's picture must not cost the others theirs.
            singles = [self._encode({camera: frame}, wanted) for camera, frame in batch.items()]
            return {camera: encoded for single in singles for camera, encoded in single.items()}
        return dict(zip(batch, encoded, strict=True))

    def _refuse(self, camera: str, error: FrameError) -> None:
        """Count a bad picture, and tell the first of each kind."""
        self._cameras[camera].bad[error.reason] += 1
        if (camera, error.reason) not in self._warned:
            self._warned.add((camera, error.reason))
            self.get_logger().warning(
                f'camera {camera}: {error}; further ones are counted in /diagnostics'
            )

    def _batch_failed(self, error: Exception) -> None:
        self._failures += 1
        known = isinstance(error, TheiaRosError)
        text = str(error) if known else ''.join(traceback.format_exception(error))
        self.get_logger().error(
            f'{self._failures} batches lost: {text}', throttle_duration_sec=5.0
        )

    # --- the rest ------------------------------------------------------------------------------

    def _start(self) -> None:
        """Configure and activate, if the node is to start by itself."""
        self._autostart.cancel()
        if not self.get_parameter('autostart').value:
            return
        for trigger in (self.trigger_configure, self.trigger_activate):
            if trigger() != TransitionCallbackReturn.SUCCESS:
                raise TheiaRosError('autostart failed; the reason stands above')

    def _use_params(self, params: NodeParams) -> None:
        self._params = params

    def _check_and_tell(self) -> None:
        """Warn about silent cameras, and publish diagnostics."""
        if not self._encoder:
            return
        name, limit_s = self.get_name(), self._params.no_image_warning_s
        status = [engine_status(name, self._encoder.provenance, self._failures)]
        silent = []
        for camera in self._cameras.values() if self._worker else ():
            dropped = self._box.replaced(camera.name)
            status.append(camera_status(name, camera, dropped, limit_s))
            if limit_s and camera.silent_s() > limit_s:
                silent.append(
                    f'camera {camera.name}: no image on {camera.topic} for '
                    f'{camera.silent_s():.0f} s, {self._publishers_of(camera.topic)}'
                )
        if silent:
            self.get_logger().warning('; '.join(silent), throttle_duration_sec=10.0)
        header = Header(stamp=self.get_clock().now().to_msg())
        self._diagnostics.publish(DiagnosticArray(header=header, status=status))

    def _publishers_of(self, topic: str) -> str:
        """Describe who publishes on a topic, as a hint why nothing arrives."""
        found = self.get_publishers_info_by_topic(topic)
        if not found:
            return 'nobody publishes there; see ros2 topic list for the right name'
        return 'published by ' + ', '.join(
            f'{p.node_name} ({p.topic_type}, {p.qos_profile.reliability.name})' for p in found
        )


def main() -> int:
    """Run the node until it is asked to stop."""
    return run_node(EncoderNode)


if __name__ == '__main__':
    sys.exit(main())
