"""Which topics of an encoder node are shown, each as a pane of its own."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Mapping
from dataclasses import dataclass

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
FEATURES = 'theia_msgs/msg/FeatureTensor'

CAMERA = 'Camera'
TITLES: Mapping[str, str] = {
    'dinov2/image': 'PCA',
    'depth/image_color': 'Depth',
    'segmentation/image': 'Segmentation',
    'features': 'Feature norm',
}
"""Of the topics below a camera, in the order of the page; the camera's own picture is first."""
TWINS = frozenset({'depth/image', 'segmentation/labels'})
"""Numbers that have a twin in colour."""


@dataclass(frozen=True)
class Pane:
    """A topic that is shown.

    Attributes:
        topic: Full name.
        type: Type of its messages, as the graph calls it.
        title: For people; the same for all cameras.
    """

    topic: str
    type: str
    title: str


def panes_of(
    node: str, camera: str, image_topic: str, topics: Mapping[str, Collection[str]]
) -> list[Pane]:
    """Return what is shown of a camera.

    Args:
        node: Full name of the encoder node.
        camera: Name of the camera.
        image_topic: Where its pictures come from, with the namespace.
        topics: All that somebody publishes, and their types.
    """
    below = f'{node}/{camera}/'
    found = {
        topic.removeprefix(below): topic
        for topic, types in topics.items()
        if topic.startswith(below) and IMAGE in types
    }
    if FEATURES in topics.get(f'{below}features', ()):
        found['features'] = f'{below}features'
    order = [*TITLES, *sorted(found)]
    type_ = COMPRESSED if image_topic.endswith('/compressed') else IMAGE
    return [
        Pane(image_topic, type_, CAMERA),
        *(
            Pane(found[name], FEATURES if name == 'features' else IMAGE, TITLES.get(name, name))
            for name in dict.fromkeys(order)
            if name in found and name not in TWINS
        ),
    ]
