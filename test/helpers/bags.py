"""Recordings for tests, made with rosbags and without ROS."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture
from rosbags.interfaces import Qos
from rosbags.interfaces import QosDurability
from rosbags.interfaces import QosHistory
from rosbags.interfaces import QosLiveliness
from rosbags.interfaces import QosReliability
from rosbags.interfaces import QosTime
from rosbags.rosbag2 import CompressionFormat
from rosbags.rosbag2 import CompressionMode
from rosbags.rosbag2 import Reader
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer
from rosbags.typesys import get_types_from_msg
from rosbags.typesys import get_typestore
from rosbags.typesys import Stores

ROOT = Path(__file__).parents[2]
IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
IMU = 'sensor_msgs/msg/Imu'
START_NS = 1_700_000_000_000_000_000

STORE = get_typestore(Stores.ROS2_HUMBLE)
for _path in sorted((ROOT / 'msg').glob('*.msg')):
    STORE.register(get_types_from_msg(_path.read_text(), f'theia_msgs/msg/{_path.stem}'))

Message = tuple[str, str, int, bytes]
"""Topic, type, nanoseconds after the begin at which it was received, and bytes."""


def header(stamp_ns: int, frame_id: str = 'optical') -> Any:
    """Return a header."""
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    stamp = STORE.types['builtin_interfaces/msg/Time'](sec=seconds, nanosec=nanoseconds)
    return STORE.types['std_msgs/msg/Header'](stamp=stamp, frame_id=frame_id)


def pixels(number: int, size_hw: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Return a picture of its own for each number: slopes, an edge and noise."""
    height, width = size_hw
    rows, columns = np.mgrid[:height, :width]
    noise = np.random.default_rng(number).integers(0, 40, (height, width, 3))
    slopes = np.stack([rows * 2, columns * 2, rows + columns + 7 * number], axis=-1)
    slopes[:, : width // 3] //= 2
    return ((slopes + noise) % 256).astype(np.uint8)


def raw(msg: Any) -> bytes:
    """Return a message as it lies in a bag."""
    return bytes(STORE.serialize_cdr(msg, msg.__msgtype__))


def image(rgb: np.ndarray, stamp_ns: int = 0, frame_id: str = 'optical', **changes: Any) -> bytes:
    """Return a raw image."""
    height, width = rgb.shape[:2]
    fields = {
        'header': header(stamp_ns, frame_id),
        'height': height,
        'width': width,
        'encoding': 'rgb8',
        'is_bigendian': 0,
        'step': 3 * width,
        'data': np.ascontiguousarray(rgb).reshape(-1),
    }
    return raw(STORE.types[IMAGE](**{**fields, **changes}))


def jpeg(rgb: np.ndarray, stamp_ns: int = 0, frame_id: str = 'optical') -> bytes:
    """Return a compressed image."""
    file = io.BytesIO()
    Picture.fromarray(rgb).save(file, 'JPEG', quality=90)
    return compressed(file.getvalue(), stamp_ns, frame_id)


def compressed(data: bytes, stamp_ns: int = 0, frame_id: str = 'optical') -> bytes:
    """Return a compressed image of any bytes."""
    values = np.frombuffer(data, np.uint8)
    kind = STORE.types[COMPRESSED]
    return raw(kind(header=header(stamp_ns, frame_id), format='jpeg', data=values))


def imu(stamp_ns: int = 0) -> bytes:
    """Return a message that is no picture."""
    vector = STORE.types['geometry_msgs/msg/Vector3'](x=1.0, y=2.0, z=3.0)
    return raw(
        STORE.types[IMU](
            header=header(stamp_ns, 'imu'),
            orientation=STORE.types['geometry_msgs/msg/Quaternion'](x=0.0, y=0.0, z=0.0, w=1.0),
            orientation_covariance=np.zeros(9),
            angular_velocity=vector,
            angular_velocity_covariance=np.zeros(9),
            linear_acceleration=vector,
            linear_acceleration_covariance=np.zeros(9),
        )
    )


def qos(durability: QosDurability = QosDurability.VOLATILE) -> Qos:
    """Return a profile that a camera may offer."""
    never = QosTime(2147483647, 4294967295)
    return Qos(
        QosHistory.KEEP_LAST,
        5,
        QosReliability.BEST_EFFORT,
        durability,
        never,
        never,
        QosLiveliness.AUTOMATIC,
        never,
        False,
    )


def write(
    folder: Path,
    messages: Iterable[Message],
    storage: str = 'mcap',
    compression: CompressionMode = CompressionMode.NONE,
) -> Path:
    """Write a bag."""
    plugin = {'mcap': StoragePlugin.MCAP, 'sqlite3': StoragePlugin.SQLITE3}[storage]
    writer = Writer(folder, version=9, storage_plugin=plugin)
    writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        connections: dict[tuple[str, str], Any] = {}
        for topic, kind, offset_ns, data in messages:
            key = topic, kind
            if key not in connections:
                connections[key] = writer.add_connection(
                    topic, kind, typestore=STORE, offered_qos_profiles=[qos()]
                )
            writer.write(connections[key], START_NS + offset_ns, data)
    return folder


def read(folder: Path) -> list[Message]:
    """Return the messages of a bag, with the time since `START_NS`."""
    with Reader(folder) as reader:
        return [(c.topic, c.msgtype, t - START_NS, bytes(d)) for c, t, d in reader.messages()]


def features(messages: Iterable[Message]) -> dict[tuple[str, int], Any]:
    """Return the FeatureTensors among messages, by topic and time of receipt."""
    kind = 'theia_msgs/msg/FeatureTensor'
    return {(t, ns): STORE.deserialize_cdr(d, kind) for t, k, ns, d in messages if k == kind}


def numbers(msg: Any) -> np.ndarray:
    """Return the numbers of a FeatureTensor as its definition describes them."""
    kind = {msg.FLOAT32: '<f4', msg.FLOAT16: '<f2'}[msg.dtype]
    return np.frombuffer(msg.data, kind).reshape(tuple(msg.shape))


def stereo(pictures: int = 6, period_ns: int = 100_000_000) -> list[Message]:
    """Return two cameras, one raw and one compressed, and something between."""
    messages: list[Message] = []
    for i in range(pictures):
        at = i * period_ns
        messages.append(('/front/image_raw', IMAGE, at, image(pixels(i), 5 * at + 1, 'front')))
        messages.append(('/imu', IMU, at + 10, imu(at)))
        data = jpeg(pixels(100 + i, (60, 80)), 5 * at + 2, 'wrist')
        messages.append(('/wrist/image_raw/compressed', COMPRESSED, at + 20, data))
    return messages
