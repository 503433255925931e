"""Messages to records and back, and nothing else.

Encodings are those of `sensor_msgs/image_encodings`. Bytes cross as memory, never as lists: the
generated setters check a list, and on some distributions `bytes`, element by element, and let
only `array.array` through.

Messages are read by the names of their fields, so that they may be ROS's own or anybody's. Those
that are made are ROS's, unless other classes are given; ROS is imported only to make them.
"""

from __future__ import annotations

import array
import math
from collections.abc import Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any
from typing import Protocol
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from theia_ros.datatypes import DecodedMap
from theia_ros.datatypes import Features
from theia_ros.datatypes import Frame
from theia_ros.datatypes import Provenance
from theia_ros.datatypes import Region
from theia_ros.errors import FrameError
from theia_ros.images import decode_rgb
from theia_ros.intrinsics import scale_intrinsics
from theia_ros.raw_images import decode_raw
from theia_ros.timing import Spread

if TYPE_CHECKING:
    from builtin_interfaces.msg import Time
    from sensor_msgs.msg import CameraInfo
    from sensor_msgs.msg import CompressedImage
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header
    from theia_msgs.msg import EncoderInfo
    from theia_msgs.msg import FeatureTensor
    from theia_msgs.msg import Latency

Pixels = NDArray[np.uint8]

DTYPES: Mapping[str, tuple[int, str]] = {'float32': (1, '<f4'), 'float16': (2, '<f2')}
"""Of published features: constant of FeatureTensor.msg, and numpy's name, little endian."""

_MOST_AXES = 32
"""That every numpy can handle."""


class Makers(Protocol):
    """The classes that features and their provenance are made of, called as in ROS."""

    EncoderInfo: Any
    FeatureTensor: Any
    Header: Any
    RegionOfInterest: Any
    TensorInfo: Any
    Time: Any

    def sequence(self, values: NDArray[Any]) -> Any:
        """Return numbers as a field that holds many of their type takes them."""


@cache
def _ros() -> Any:
    """Return the classes of ROS, which need not be there for those who only read."""
    from builtin_interfaces.msg import Time
    from sensor_msgs.msg import CameraInfo
    from sensor_msgs.msg import Image
    from sensor_msgs.msg import RegionOfInterest
    from std_msgs.msg import Header
    from theia_msgs.msg import EncoderInfo
    from theia_msgs.msg import FeatureTensor
    from theia_msgs.msg import Latency
    from theia_msgs.msg import StepLatency
    from theia_msgs.msg import TensorInfo

    return SimpleNamespace(
        CameraInfo=CameraInfo,
        EncoderInfo=EncoderInfo,
        FeatureTensor=FeatureTensor,
        Header=Header,
        Image=Image,
        Latency=Latency,
        RegionOfInterest=RegionOfInterest,
        StepLatency=StepLatency,
        TensorInfo=TensorInfo,
        Time=Time,
        sequence=packed,
    )


def frame_from_image(msg: Image) -> Frame:
    """Return the picture of a raw image; see `raw_images.decode_raw`."""
    return _frame(decode_raw(msg), msg)


def frame_from_compressed(msg: CompressedImage) -> Frame:
    """Return the picture of a JPEG or PNG image.

    Raises:
        FrameError: It cannot be decoded.
    """
    return _frame(decode_rgb(memoryview(msg.data)), msg)


def _frame(rgb: Pixels, msg: Image | CompressedImage) -> Frame:
    nanosec = msg.header.stamp.nanosec
    if nanosec >= 1_000_000_000:  # outputs could not carry it on unchanged
        raise FrameError(
            'stamp', f'stamp has {nanosec} nanoseconds; expected less than a second of them'
        )
    return Frame(rgb, stamp_ns(msg), msg.header.frame_id)


def stamp_ns(msg: Image | CompressedImage) -> int:
    """Return the stamp of an image, nanoseconds."""
    stamp: Time = msg.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def header_of(record: Frame | Features | DecodedMap, makers: Makers | None = None) -> Header:
    """Return the header that the source picture had; of ROS, unless others are to make it."""
    make = makers or _ros()
    seconds, nanoseconds = divmod(record.stamp_ns, 1_000_000_000)
    stamp = make.Time(sec=seconds, nanosec=nanoseconds)
    return make.Header(stamp=stamp, frame_id=record.frame_id)


def message_from_features(
    features: Features, dtype: str, model: str, digest: str, makers: Makers | None = None
) -> FeatureTensor:
    """Return features as a message.

    Args:
        features: Of one picture.
        dtype: Key of `DTYPES`.
        model: Name of the model.
        digest: Of the encoder's recipe.
        makers: Of the message; ROS's by default.
    """
    make = makers or _ros()
    constant, numpy_name = DTYPES[dtype]
    h, w = features.grid_hw
    region = features.region
    with np.errstate(over='ignore'):  # infinite, as IEEE 754 has it
        tokens = features.tokens.astype(numpy_name, copy=False)
    return make.FeatureTensor(
        header=header_of(features, make),
        model=model,
        name=features.name,
        provenance=digest,
        dtype=constant,
        shape=make.sequence(np.array(tokens.shape, np.uint32)),
        grid_height=h,
        grid_width=w,
        region=make.RegionOfInterest(
            x_offset=region.x_px,
            y_offset=region.y_px,
            height=region.height_px,
            width=region.width_px,
            do_rectify=False,
        ),
        data=make.sequence(np.ascontiguousarray(tokens).reshape(-1).view(np.uint8)),
    )


def message_from_map(decoded: DecodedMap) -> Image:
    """Return a decoded map as a message."""
    height, width = decoded.values.shape[:2]
    values = np.ascontiguousarray(decoded.values, decoded.values.dtype.newbyteorder('<'))
    return _ros().Image(
        header=header_of(decoded),
        height=height,
        width=width,
        encoding=decoded.encoding,
        is_bigendian=0,
        step=values.nbytes // height,
        data=packed(values.reshape(-1).view(np.uint8)),
    )


def info_from_map(info: CameraInfo, decoded: DecodedMap) -> CameraInfo:
    """Return the calibration of a map, from that of the camera whose picture it was made of."""
    roi = info.roi
    source = Region(roi.x_offset, roi.y_offset, roi.width, roi.height)
    if not (roi.width and roi.height):
        source = Region(0, 0, info.width, info.height)
    height, width = decoded.values.shape[:2]
    scaled = _ros().CameraInfo(
        header=header_of(decoded),
        height=height,
        width=width,
        distortion_model=info.distortion_model,
        d=info.d,
        r=info.r,
    )
    if source.width_px and source.height_px:  # else it is not calibrated
        k, p = np.reshape(info.k, (3, 3)), np.reshape(info.p, (3, 4))
        scaled.k = scale_intrinsics(k, source, (height, width)).ravel()
        scaled.p = scale_intrinsics(p, source, (height, width)).ravel()
    return scaled


def message_from_provenance(
    provenance: Provenance,
    dtype: str,
    stamp: Time,
    image_topics: Mapping[str, str],
    makers: Makers | None = None,
) -> EncoderInfo:
    """Return the provenance as a message.

    Args:
        provenance: Of the encoder.
        dtype: Key of `DTYPES`, of the published features.
        stamp: When the encoder was configured.
        image_topics: Topic of each camera, by the camera's name.
        makers: Of the message; ROS's by default.
    """
    make = makers or _ros()
    recipe = provenance.recipe
    return make.EncoderInfo(
        stamp=stamp,
        model=provenance.model,
        revision=provenance.revision,
        weights_sha256=recipe.weights_sha256,
        preprocessing=recipe.preprocessing,
        reduction=recipe.reduction,
        token_layout=recipe.token_layout,
        tensors=[
            make.TensorInfo(
                name=tensor.name,
                shape=make.sequence(np.array(tensor.shape, np.uint32)),
                grid_height=tensor.grid_hw[0],
                grid_width=tensor.grid_hw[1],
                dtype=DTYPES[dtype][0],
                parity_cosine=tensor.cosine,
                parity_max_abs_error=tensor.max_abs_error,
            )
            for tensor in provenance.tensors
        ],
        backend=recipe.backend,
        precision=recipe.precision,
        engine_fingerprint=provenance.engine_fingerprint,
        device=provenance.device,
        versions=[f'{name}={version}' for name, version in provenance.versions.items()],
        cameras=list(image_topics),
        image_topics=list(image_topics.values()),
        digest=recipe.digest,
    )


def message_from_latencies(spreads: Mapping[str, Spread], stamp: Time) -> Latency:
    """Return latencies as a message; a step called `<camera>/<step>` is of that camera."""
    make, steps = _ros(), []
    for name, spread in spreads.items():
        camera, _, step = name.rpartition('/')
        figures = {f'{k}_ms': getattr(spread, f'{k}_ms') for k in ('p50', 'p95', 'p99', 'max')}
        steps.append(make.StepLatency(camera=camera, step=step, count=spread.count, **figures))
    return make.Latency(header=make.Header(stamp=stamp), steps=steps)


def packed(values: NDArray[Any]) -> array.array[int]:
    """Return numbers in the one form that the setters take without a loop."""
    out = array.array(values.dtype.char)
    out.frombytes(np.ascontiguousarray(values).data.cast('B'))
    return out


def tokens_from_message(msg: FeatureTensor) -> NDArray[Any]:
    """Return the numbers of a message as they are, without a copy; see FeatureTensor.msg.

    Raises:
        FrameError: The message does not hold what it says, or its type is not known to numpy.
    """
    names = dict(DTYPES.values())
    if msg.dtype not in names:
        raise FrameError('dtype', f'dtype {msg.dtype} is not one of {sorted(names)}')
    data = np.frombuffer(msg.data, np.uint8)
    shape = list(msg.shape)
    if len(shape) > _MOST_AXES:
        raise FrameError('shape', f'shape has {len(shape)} axes; expected {_MOST_AXES} or fewer')
    needed = math.prod(shape) * np.dtype(names[msg.dtype]).itemsize
    if data.size != needed:
        raise FrameError('short', f'data has {data.size} bytes; shape {shape} needs {needed}')
    try:
        return data.view(names[msg.dtype]).reshape(shape)
    except ValueError as exc:  # no numbers, and an axis that is too long for them
        raise FrameError('shape', f'shape {shape}: {exc}') from exc
