"""Messages as they lie in a bag: bytes to pictures, features to bytes, without ROS."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import get_types_from_msg
from rosbags.typesys import get_typestore
from rosbags.typesys import Stores
from rosbags.typesys.store import Typestore

import theia_ros
from theia_ros.conversions import frame_from_compressed
from theia_ros.conversions import frame_from_image
from theia_ros.conversions import message_from_features
from theia_ros.conversions import message_from_provenance
from theia_ros.datatypes import Features
from theia_ros.datatypes import Frame
from theia_ros.datatypes import Provenance
from theia_ros.errors import BagError
from theia_ros.errors import FrameError
from theia_ros.errors import one_line

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
FEATURES = 'theia_msgs/msg/FeatureTensor'
INFO = 'theia_msgs/msg/EncoderInfo'

_READERS = {IMAGE: frame_from_image, COMPRESSED: frame_from_compressed}


def definitions() -> Mapping[str, str]:
    """Return the text of each message of theia_msgs, by the name of its type.

    They lie in an installed package, in a checkout, or where ROS keeps those of all packages.

    Raises:
        BagError: They lie nowhere.
    """
    package = Path(theia_ros.__file__).parent
    prefixes = filter(None, os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep))
    shared = [Path(prefix, 'share', 'theia_msgs', 'msg') for prefix in prefixes]
    for folder in (package / 'msg', package.parent / 'msg', *shared):
        if found := {f'theia_msgs/msg/{p.stem}': p.read_text() for p in folder.glob('*.msg')}:
            return found
    raise BagError(
        f'the messages of theia_msgs are neither in {package / "msg"} nor on AMENT_PREFIX_PATH; '
        'install theia_ros again, or source the workspace that it was built in'
    )


@cache
def typestore() -> Typestore:
    """Return what knows the messages of ROS 2, and ours."""
    store = get_typestore(Stores.LATEST)
    types: dict[str, Any] = {}
    for name, text in definitions().items():
        types.update(get_types_from_msg(text, name))
    store.register(types)
    return store


class _Makers:
    """The classes of rosbags, as `conversions` wants them."""

    def __init__(self) -> None:
        types = typestore().types
        self.EncoderInfo: Any = types[INFO]
        self.FeatureTensor: Any = types[FEATURES]
        self.Header: Any = types['std_msgs/msg/Header']
        self.RegionOfInterest: Any = types['sensor_msgs/msg/RegionOfInterest']
        self.TensorInfo: Any = types['theia_msgs/msg/TensorInfo']
        self.Time: Any = types['builtin_interfaces/msg/Time']

    def sequence(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the array itself."""
        return values


@cache
def _makers() -> _Makers:
    return _Makers()


def frame_of(raw: bytes, kind: str) -> Frame:
    """Return the picture of a message.

    Args:
        raw: The message as it lies in the bag.
        kind: Its type, `IMAGE` or `COMPRESSED`.

    Raises:
        FrameError: It has none that can be used.
    """
    try:
        msg = typestore().deserialize_cdr(raw, kind)
    except Exception as exc:  # damaged bytes lead to nearly every kind there is
        what = f'{len(raw)} bytes are no {kind}: {one_line(exc)}'
        raise FrameError('message', what) from exc
    return _READERS[kind](msg)


def features_as_bytes(features: Features, dtype: str, model: str, digest: str) -> bytes:
    """Return features as a message in a bag; see `conversions.message_from_features`."""
    msg = message_from_features(features, dtype, model, digest, _makers())
    return bytes(typestore().serialize_cdr(msg, FEATURES))


def features_from_bytes(raw: bytes) -> Any:
    """Return a FeatureTensor that `features_as_bytes` made."""
    return typestore().deserialize_cdr(raw, FEATURES)


def info_of(
    provenance: Provenance, dtype: str, stamp_ns: int, image_topics: Mapping[str, str]
) -> Any:
    """Return an EncoderInfo; see `conversions.message_from_provenance`."""
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    stamp = _makers().Time(sec=seconds, nanosec=nanoseconds)
    return message_from_provenance(provenance, dtype, stamp, image_topics, _makers())


def info_as_bytes(info: Any) -> bytes:
    """Return an EncoderInfo as a message in a bag."""
    return bytes(typestore().serialize_cdr(info, INFO))


def as_plain(value: Any) -> Any:
    """Return a message as dictionaries, lists and numbers that JSON has; NaN becomes None."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list):
        return [as_plain(item) for item in value]
    if hasattr(value, '__msgtype__'):
        return {k: as_plain(v) for k, v in vars(value).items() if not k.startswith('_')}
    return None if value != value else value
