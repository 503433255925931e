"""The topics that one camera's features and maps go out on."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping

from rclpy.lifecycle import LifecycleNode
from rclpy.lifecycle import LifecyclePublisher
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import Image
from theia_msgs.msg import FeatureTensor

from theia_ros.catalog import feature_topic
from theia_ros.conversions import info_from_map
from theia_ros.conversions import message_from_features
from theia_ros.conversions import message_from_map
from theia_ros.datatypes import DecodedMap
from theia_ros.datatypes import Features
from theia_ros.encoder import Encoder
from theia_ros.nodes import qos
from theia_ros.params import NodeParams


class CameraOutputs:
    """One publisher for each tensor and each map that the encoder can give."""

    def __init__(
        self,
        node: LifecycleNode,
        camera: str,
        params: NodeParams,
        encoder: Encoder,
        warn: Callable[[str], None],
    ) -> None:
        """Create the publishers; they are silent until the node is active.

        Args:
            node: The node that publishes.
            camera: Name of the camera.
            params: Parameters of the node.
            encoder: The encoder that gives the outputs.
            warn: Is told of subscribers that cannot be served.
        """
        profile = qos.stream(params.output_reliability, params.output_depth)
        self._node = node
        self._dtype = params.feature_dtype
        self._model = params.model
        self._digest = encoder.provenance.recipe.digest

        def create(message: type, topic: str) -> LifecyclePublisher:
            return create_publisher(node, message, f'~/{camera}/{topic}', profile, warn)

        self._publishers = {
            **{name: create(FeatureTensor, feature_topic(name)) for name in encoder.tensors},
            **{name: create(Image, name) for name in encoder.maps},
        }
        self._info = create(CameraInfo, 'camera_info')

    def wanted(self) -> frozenset[str]:
        """Return the names of the outputs that somebody subscribes to at this moment."""
        return frozenset(
            name
            for name, publisher in self._publishers.items()
            if publisher.get_subscription_count()
        )

    def message(self, features: Features) -> FeatureTensor:
        """Return a tensor as a message."""
        return message_from_features(features, self._dtype, self._model, self._digest)

    def publish_features(self, features: Mapping[str, Features]) -> None:
        """Publish the tensors of one picture."""
        for name, tensor in features.items():
            self._publishers[name].publish(self.message(tensor))

    def publish_maps(self, maps: Mapping[str, DecodedMap], info: CameraInfo | None) -> None:
        """Publish the maps of one picture, and their calibration if the camera has one."""
        for name, decoded in maps.items():
            self._publishers[name].publish(message_from_map(decoded))
        if info and maps and self._info.get_subscription_count():
            self._info.publish(info_from_map(info, next(iter(maps.values()))))

    def destroy(self) -> None:
        """Destroy the publishers."""
        for publisher in (*self._publishers.values(), self._info):
            # Not destroy_publisher, which would leave it among the managed entities.
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers = {}


def create_publisher(
    node: LifecycleNode,
    message: type,
    topic: str,
    profile: QoSProfile,
    warn: Callable[[str], None],
) -> LifecyclePublisher:
    """Create a managed publisher that tells of subscribers which it cannot serve."""
    sentence = qos.mismatch(topic, 'subscriber', 'set output_reliability to reliable')
    events = qos.PublisherEventCallbacks(incompatible_qos=lambda event: warn(sentence(event)))
    try:
        return node.create_lifecycle_publisher(message, topic, profile, event_callbacks=events)
    except qos.UnsupportedEventTypeError:  # some middlewares cannot tell
        return node.create_lifecycle_publisher(message, topic, profile)
