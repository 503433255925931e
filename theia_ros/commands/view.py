"""`theia-ros view`: live maps of a running encoder node, in the browser."""

from __future__ import annotations

import argparse
import math

from theia_ros.errors import ParameterError

HELP = 'Show live maps of the encoder nodes on this ROS graph, as a page for the browser.'
EXAMPLES = """examples:
  theia-ros view                              then open http://127.0.0.1:8224/
  theia-ros view --open                       opens it for you
  theia-ros view --node /robot1/theia --port 8300
  theia-ros view --host 0.0.0.0               for the whole network, without a password
  ssh -L 8224:127.0.0.1:8224 robot theia-ros view      for one other computer, safely

Only what a browser shows is subscribed to, so the node computes nothing that nobody looks at.
See docs/view.md."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        '--node', default='', help='full name of the encoder node (default: all that there are)'
    )
    parser.add_argument(
        '--host', default='127.0.0.1', help='address to listen on (default: %(default)s)'
    )
    parser.add_argument(
        '--port', type=int, default=8224, help='0 takes a free one (default: %(default)s)'
    )
    parser.add_argument('--open', action='store_true', help='open the page in your browser')
    parser.add_argument(
        '--rate',
        type=float,
        default=15.0,
        metavar='HZ',
        help='pictures of a pane in a second at most (default: %(default)s)',
    )
    parser.add_argument(
        '--width',
        type=int,
        default=640,
        metavar='PX',
        help='pictures are made smaller than this (default: %(default)s)',
    )


def run(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    if not 0 < args.rate < math.inf:
        raise ParameterError(f'--rate is {args.rate}; use more than 0')
    if not 16 <= args.width <= 8192:
        raise ParameterError(f'--width is {args.width}; use 16 to 8192')
    if not 0 <= args.port <= 65535:
        raise ParameterError(f'--port is {args.port}; use 0 to 65535')
    if not args.host:  # all addresses, to the system
        raise ParameterError('--host is empty; use an address, or 0.0.0.0 for all')
    if args.node and not args.node.startswith('/'):
        raise ParameterError(f'--node is {args.node!r}; use the full name, such as /{args.node}')
    try:
        import aiohttp  # noqa: F401
    except ImportError as exc:
        raise ParameterError(
            f'view needs aiohttp ({exc}); run: pip install "aiohttp>=3.8,<4", or install '
            'python3-aiohttp with apt'
        ) from exc
    try:
        from theia_ros.view import session
    except ImportError as exc:
        raise ParameterError(
            f'view needs rclpy and theia_msgs ({exc}); run scripts/setup and source '
            'scripts/env.sh, or source a ROS 2 workspace with theia_ros'
        ) from exc
    settings = session.Settings(
        host=args.host,
        port=args.port,
        node=args.node.rstrip('/'),
        rate_hz=args.rate,
        width_px=args.width,
        open_browser=args.open,
    )
    session.run(settings, lambda line: print(line, flush=True))
    return 0
