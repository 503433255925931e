"""Entry points of the nodes, which obey signals while libraries are still being loaded."""

from __future__ import annotations

import os
import signal


def encoder_node() -> int:
    """Run `theia_ros.nodes.encoder_node`."""
    _end_at_signals()
    from theia_ros.nodes.encoder_node import main

    return int(main())


def depth_cloud() -> int:
    """Run `theia_ros.nodes.depth_cloud`."""
    _end_at_signals()
    from theia_ros.nodes.depth_cloud import main

    return int(main())


def demo_camera() -> int:
    """Run `theia_ros.demo.camera_node`."""
    _end_at_signals()
    from theia_ros.demo.camera_node import main

    return int(main())


def _end_at_signals() -> None:
    """End at once, with status 0, until the node has handlers of its own: nothing is begun yet.

    Python would raise KeyboardInterrupt in the middle of an import, and end with a traceback.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))
