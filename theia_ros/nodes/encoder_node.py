"""The encoder node: camera topics in, features and maps out.

What configure takes, cleanup gives back; what activate opens, deactivate closes. The way of a
picture in between is in `pipeline.py`.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.clock import Clock
from rclpy.clock import ClockType
from rclpy.lifecycle import LifecycleNode
from rclpy.lifecycle import LifecyclePublisher
from rclpy.lifecycle import LifecycleState
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.utilities import get_rmw_implementation_identifier
from std_msgs.msg import Header
from theia_msgs.msg import EncoderInfo
from theia_msgs.msg import FeatureTensorArray
from theia_msgs.msg import Latency

from theia_ros.conversions import message_from_latencies
from theia_ros.conversions import message_from_provenance
from theia_ros.encoder import Encoder
from theia_ros.errors import TheiaRosError
from theia_ros.nodes import qos
from theia_ros.nodes import ros_params
from theia_ros.nodes.camera import Camera
from theia_ros.nodes.diagnostics import camera_status
from theia_ros.nodes.diagnostics import engine_status
from theia_ros.nodes.diagnostics import progress_status
from theia_ros.nodes.outputs import CameraOutputs
from theia_ros.nodes.outputs import create_publisher
from theia_ros.nodes.pipeline import Pipeline
from theia_ros.nodes.process import give_back_memory
from theia_ros.nodes.process import run_node
from theia_ros.nodes.transitions import reported
from theia_ros.params import NodeParams
from theia_ros.parity import FELL_BACK


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
        self._cameras: dict[str, Camera] = {}
        self._outputs: dict[str, CameraOutputs] = {}
        self._info: LifecyclePublisher | None = None
        self._info_message: EncoderInfo | None = None
        self._latency: LifecyclePublisher | None = None
        self._array: LifecyclePublisher | None = None
        self._pipeline: Pipeline | None = None
        super().__init__('theia', **kwargs)
        ros_params.declare(self)
        ros_params.watch(self, lambda: self._params, self._use_params)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        # By the steady clock: with use_sim_time, the node's own may stand still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._tell, clock=steady)
        self._autostart = self.create_timer(0.0, self._start, clock=steady)

    # --- transitions ---------------------------------------------------------------------------

    @reported
    def on_configure(self, state: LifecycleState) -> None:
        """Load the model, open the engine and create the publishers."""
        try:
            self._configure(ros_params.read(self))
        except Exception:
            self._release()
            raise

    def _configure(self, params: NodeParams) -> None:
        started = time.monotonic()
        self._encoder = encoder = Encoder(params, self._report)
        self._params = params
        for name, topic in zip(params.cameras, params.image_topics, strict=True):
            self._cameras[name] = Camera(name, self.resolve_topic_name(topic))
            self._outputs[name] = CameraOutputs(self, name, params, encoder, self._warn)
        self._info = create_publisher(self, EncoderInfo, '~/info', qos.INFO, self._warn)
        self._latency = create_publisher(
            self, Latency, '~/latency', qos.stream('reliable', 1), self._warn
        )
        if params.synchronize:
            profile = qos.stream(params.output_reliability, params.output_depth)
            self._array = create_publisher(
                self, FeatureTensorArray, '~/features', profile, self._warn
            )
        self._info_message = message_from_provenance(
            encoder.provenance,
            params.feature_dtype,
            self.get_clock().now().to_msg(),
            {camera.name: camera.topic for camera in self._cameras.values()},
        )
        for note in encoder.provenance.notes:
            if note.startswith(FELL_BACK):
                self.get_logger().warning(note)
            else:
                self.get_logger().info(note)
        give_back_memory()
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
        self._pipeline = Pipeline(
            self._encoder,
            self._cameras,
            self._outputs,
            self._array,
            self._params,
            self.get_clock(),
            self._warn,
            self._batch_lost,
        )
        for camera in self._cameras.values():
            camera.open(self, self._params, self._pipeline.receive, self._warn)
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
        if self._pipeline:
            self._pipeline.stop()
            self._pipeline = None

    def _release(self) -> None:
        for outputs in self._outputs.values():
            outputs.destroy()
        for publisher in (self._info, self._latency, self._array):
            if publisher:
                self.destroy_lifecycle_publisher(publisher)
        if self._encoder:
            self._encoder.close()
        self._cameras, self._outputs = {}, {}
        self._info = self._latency = self._array = self._info_message = None
        self._params = self._encoder = None
        give_back_memory()

    # --- the rest ------------------------------------------------------------------------------

    def _start(self) -> None:
        """Configure and activate, if the node is to start by itself."""
        self._autostart.cancel()
        if not self.get_parameter('autostart').value:
            return
        for trigger in (self.trigger_configure, self.trigger_activate):
            if trigger() != TransitionCallbackReturn.SUCCESS:
                raise TheiaRosError('autostart failed; the reason is above')

    def _use_params(self, params: NodeParams) -> None:
        self._params = params
        self._encoder.use(params)
        if self._pipeline:
            self._pipeline.use(params)

    def _report(self, stage: str) -> None:
        """Tell what configure is doing, since it may build engines for minutes."""
        self.get_logger().info(stage)
        self._publish_status(progress_status(self.get_name(), stage))

    def _warn(self, text: str) -> None:
        self.get_logger().warning(text)

    def _batch_lost(self, error: Exception) -> None:
        known = isinstance(error, TheiaRosError)
        text = str(error) if known else ''.join(traceback.format_exception(error))
        self.get_logger().error(f'a batch is lost: {text}', throttle_duration_sec=5.0)

    def _tell(self) -> None:
        """Publish diagnostics and latencies, and warn about silent cameras."""
        if not self._encoder:
            return
        name, pipeline = self.get_name(), self._pipeline
        spreads = pipeline.latencies.spreads() if pipeline else {}
        status = [engine_status(name, self._encoder.provenance, pipeline, spreads)]
        if pipeline:
            limit_s = self._params.no_image_warning_s
            cameras = self._cameras.values()
            status += [camera_status(name, c, pipeline, spreads, limit_s) for c in cameras]
            now = self.get_clock().now().to_msg()
            self._latency.publish(message_from_latencies(spreads, now))
            if silent := [self._silence(c) for c in cameras if 0 < limit_s < c.silent_s()]:
                self.get_logger().warning('; '.join(silent), throttle_duration_sec=10.0)
        self._publish_status(*status)

    def _silence(self, camera: Camera) -> str:
        reason = qos.why_silent(
            camera.type_name,
            self._params.image_reliability,
            self.get_publishers_info_by_topic(camera.topic),
            get_rmw_implementation_identifier(),
            os.environ,
        )
        silent_s = camera.silent_s()
        return f'camera {camera.name}: no image on {camera.topic} for {silent_s:.0f} s, {reason}'

    def _publish_status(self, *status: DiagnosticStatus) -> None:
        header = Header(stamp=self.get_clock().now().to_msg())
        self._diagnostics.publish(DiagnosticArray(header=header, status=status))


def main() -> int:
    """Run the node until it is asked to stop."""
    return run_node(EncoderNode)


if __name__ == '__main__':
    sys.exit(main())
