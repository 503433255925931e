"""A camera for demos: plays pictures on `~/image_raw` at a steady rate."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from diagnostic_msgs.msg import KeyValue
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from theia_ros.conversions import packed
from theia_ros.demo import sources
from theia_ros.errors import ParameterError
from theia_ros.nodes.process import run_node


class DemoCamera(Node):
    """Publish rgb8 images while as many as expected listen, and how many images there were.

    Parameters: `video` (a file) or `device` (a number) instead of the built-in pictures,
    `rate_hz`, `width_px`, `height_px`, `frame_id`, `seconds` after which it falls silent
    (0: never), `listeners` without which it waits (1 or more), and `fov_deg`, the horizontal angle
    of view that `~/camera_info` claims (0: none is published).
    """

    def __init__(self) -> None:
        super().__init__('camera')
        self._frame_id = self.declare_parameter('frame_id', 'camera_optical_frame').value
        rate_hz = self.declare_parameter('rate_hz', 25.0).value
        seconds = self.declare_parameter('seconds', 0.0).value
        width = self.declare_parameter('width_px', 640).value
        height = self.declare_parameter('height_px', 480).value
        video = self.declare_parameter('video', '').value
        device = self.declare_parameter('device', -1).value
        fov_deg = self.declare_parameter('fov_deg', 0.0).value
        self._listeners = self.declare_parameter('listeners', 1).value
        if not (rate_hz > 0 and width > 0 and height > 0):
            raise ParameterError('rate_hz, width_px and height_px must be above 0')
        if self._listeners < 1:
            raise ParameterError(f'listeners is {self._listeners}; use 1 or more')
        if not 0 <= fov_deg < 180:
            raise ParameterError(f'fov_deg is {fov_deg}; use 0 to below 180')
        self._pictures = _open(video, device, (width, height), rate_hz)
        self._next = next(self._pictures)  # a source that cannot be read ends the node here
        self._left = round(seconds * rate_hz) if seconds else -1
        self._sent = 0
        self._images = self.create_publisher(Image, '~/image_raw', qos_profile_sensor_data)
        self._info = _pinhole(width, height, fov_deg) if fov_deg else None
        self._infos = (
            self.create_publisher(CameraInfo, '~/camera_info', qos_profile_sensor_data)
            if fov_deg
            else None
        )
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self.create_timer(1 / rate_hz, self._publish)
        self.create_timer(1.0, self._tell)

    def _publish(self) -> None:
        if self._left == 0 or self._images.get_subscription_count() < self._listeners:
            return
        rgb = self._next
        height, width = rgb.shape[:2]
        header = Header(stamp=self._now(), frame_id=self._frame_id)
        self._images.publish(
            Image(
                header=header,
                height=height,
                width=width,
                encoding='rgb8',
                step=3 * width,
                data=packed(rgb),
            )
        )
        if self._infos:
            self._info.header = header
            self._infos.publish(self._info)
        self._sent += 1
        self._left -= 1
        # After publishing: the time that a picture takes to make is not latency.
        self._next = next(self._pictures)

    def _tell(self) -> None:
        status = DiagnosticStatus(
            name=f'{self.get_name()}: pictures',
            level=DiagnosticStatus.OK,
            message='finished' if self._left == 0 else 'playing',
            values=[KeyValue(key='sent', value=str(self._sent))],
        )
        self._diagnostics.publish(
            DiagnosticArray(header=Header(stamp=self._now()), status=[status])
        )

    def _now(self) -> Time:
        return self.get_clock().now().to_msg()


def _pinhole(width: int, height: int, fov_deg: float) -> CameraInfo:
    """Return the calibration of a camera without distortion, by its horizontal angle of view."""
    focal = width / 2 / math.tan(math.radians(fov_deg) / 2)
    x, y = (width - 1) / 2, (height - 1) / 2
    return CameraInfo(
        width=width,
        height=height,
        distortion_model='plumb_bob',
        d=[0.0] * 5,
        k=[focal, 0.0, x, 0.0, focal, y, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[focal, 0.0, x, 0.0, 0.0, focal, y, 0.0, 0.0, 0.0, 1.0, 0.0],
    )


def _open(
    video: str, device: int, size_wh: tuple[int, int], rate_hz: float
) -> Iterator[sources.Rgb]:
    if video:
        return sources.video(Path(video), size_wh)
    if device >= 0:
        return sources.device(device, size_wh)
    return sources.pictures(size_wh, rate_hz)


def main() -> int:
    """Run the camera until it is asked to stop."""
    return run_node(DemoCamera)


if __name__ == '__main__':
    sys.exit(main())
