"""The topics that one camera's features and maps go out on."""

from __future__ import annotations

from rclpy.lifecycle import LifecycleNode
from rclpy.lifecycle import LifecyclePublisher
from sensor_msgs.msg import Image
from theia_msgs.msg import FeatureTensor

from theia_ros.catalog import BACKBONE
from theia_ros.conversions import message_from_features
from theia_ros.conversions import message_from_map
from theia_ros.datatypes import Encoded
from theia_ros.encoder import Encoder
from theia_ros.nodes import qos
from theia_ros.params import NodeParams


class CameraOutputs:
    """One publisher for each tensor and each map that the encoder can give."""

    def __init__(
        self, node: LifecycleNode, camera: str, params: NodeParams, encoder: Encoder
    ) -> None:
        """Create the publishers; they are silent until the node is active."""
        profile = qos.stream(params.output_reliability, params.output_depth)
        self._node = node
        self._dtype = params.feature_dtype
        self._model = params.model
        self._digest = encoder.provenance.recipe.digest
        self._publishers: dict[str, LifecyclePublisher] = {
            **{
                tensor: node.create_lifecycle_publisher(
                    FeatureTensor, feature_topic(camera, tensor), profile
                )
                for tensor in encoder.tensors
            },
            **{
                name: node.create_lifecycle_publisher(Image, f'~/{camera}/{name}', profile)
                for name in encoder.maps
            },
        }

    def wanted(self) -> frozenset[str]:
        """Return the names of the outputs that somebody subscribes to at this moment."""
        return frozenset(
            name
            for name, publisher in self._publishers.items()
            if publisher.get_subscription_count()
        )

    def publish(self, encoded: Encoded) -> None:
        """Publish everything that was made of one picture."""
        for name, features in encoded.features.items():
            self._publishers[name].publish(
                message_from_features(features, self._dtype, self._model, self._digest)
            )
        for name, decoded in encoded.maps.items():
            self._publishers[name].publish(message_from_map(decoded))

    def destroy(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers.values():
            # Not destroy_publisher, which would leave it among the managed entities.
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers = {}


def feature_topic(camera: str, tensor: str) -> str:
    """Return the topic of a tensor of a camera, below the node's name."""
    return f'~/{camera}/features' if tensor == BACKBONE else f'~/{camera}/{tensor}/features'
