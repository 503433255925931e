"""What rviz shows of an encoder node: the file of config/, which is for one camera, for any."""

from __future__ import annotations

import atexit
import copy
import re
import struct
import tempfile
from collections.abc import Mapping
from collections.abc import Sequence
from collections.abc import Set
from pathlib import Path
from typing import Any

from theia_ros.catalog import MODELS
from theia_ros.params import NodeParams

_IMAGE_TOPIC = '/camera/image_raw'
_BELOW = re.compile('^/theia(_cloud)?/camera/')
_NAME = re.compile(r'^camera\b')
"""What the file calls the things that differ from camera to camera."""
_DEPTH, _THINGS = {'depth_anything', 'depth'}, {'sam', 'classes'}
_NEEDS = {'depth': _DEPTH, 'cloud': _DEPTH, 'segmentation': _THINGS}
"""Heads of which a display needs one, by the last word of its name; the others need none."""
_PICTURE = 'rviz_default_plugins/Image'
_PANEL_WIDTH_PX = 300


def write_config(share: str, node: str, params_file: str, overrides: Mapping[str, str]) -> str:
    """Write a configuration for a node that is being launched, and return the path of the file.

    It is removed when this process ends.

    Args:
        share: Where `config/theia.rviz` is.
        node: Full name of the encoder node.
        params_file: Parameter file of the node.
        overrides: Parameters as they are typed on a command line; empty ones do not count.
    """
    import yaml

    params = yaml.safe_load(Path(params_file).read_text()) or {}
    given = parameters_of(params, node)
    # A camera called on is one called on, and not true: the safe loader would make it so.
    given |= {
        name: yaml.BaseLoader(text).get_single_data() for name, text in overrides.items() if text
    }
    template = yaml.safe_load(Path(share, 'config', 'theia.rviz').read_text())
    config = config_for(template, node, cameras_of(given, node), given.get('model', ''))
    with tempfile.NamedTemporaryFile('w', prefix='theia_', suffix='.rviz', delete=False) as file:
        yaml.safe_dump(config, file, sort_keys=False)
    atexit.register(Path(file.name).unlink, missing_ok=True)
    return file.name


def config_for(
    template: Mapping[str, Any], node: str, cameras: Mapping[str, str], model: str = ''
) -> dict[str, Any]:
    """Return a configuration of rviz.

    Args:
        template: The content of `config/theia.rviz`.
        node: Full name of the encoder node.
        cameras: Full name of the image topic of each camera, by the camera's name.
        model: What it has no head for, by the catalogue, is left out.
    """
    config = copy.deepcopy(dict(template))
    manager, geometry = config['Visualization Manager'], config['Window Geometry']
    heads = set(MODELS[model].teachers) if model in MODELS else _DEPTH | _THINGS
    shown = []
    for group in manager['Displays']:
        if not _NAME.match(group['Name']):
            shown.append(group)
            continue
        group['Displays'] = [d for d in group['Displays'] if _can_show(d, heads)]
        shown += [_renamed(group, node, *camera) for camera in cameras.items()]
    manager['Displays'] = shown
    geometry['QMainWindow State'] = window_state(config)
    return config


def parameters_of(params: Mapping[str, Any], node: str) -> dict[str, Any]:
    """Return what a parameter file says for a node, by its full name; the last word counts."""
    given: dict[str, Any] = {}
    for pattern, section in params.items():
        if _applies(pattern, node) and isinstance(section, dict):
            given |= section.get('ros__parameters') or {}
    return given


def cameras_of(given: Mapping[str, Any], node: str) -> dict[str, str]:
    """Return the full image topic of each camera of a node, by the camera's name.

    Args:
        given: Its parameters, as far as they are not the defaults.
        node: Full name of the node.
    """
    names = given.get('cameras') or NodeParams.cameras
    topics = given.get('image_topics') or NodeParams.image_topics
    # Of different numbers the node itself complains.
    return {name: _full_name(t, node) for name, t in zip(names, topics, strict=False)}


def window_state(config: Mapping[str, Any]) -> str:
    """Return where the window's parts stand, as Qt writes it, in hexadecimal.

    The displays' list is on the left, space in the middle, and the pictures are on the right: a
    row for each camera, or two for a single one. Without it rviz puts all of them below each
    other on the left.
    """
    geometry, displays = config['Window Geometry'], config['Visualization Manager']['Displays']
    rows = [
        names
        for group in displays
        if (names := [d['Name'] for d in group.get('Displays', ()) if d['Class'] == _PICTURE])
    ]
    if len(rows) == 1:
        rows = [rows[0][:2], rows[0][2:]] if len(rows[0]) > 2 else rows
    width, height = geometry['Width'], geometry['Height']
    pictures_px = width // 2
    left = _area(0, (_PANEL_WIDTH_PX, height), _docks(['Displays'], height, vertical=True))
    row_px = height // max(len(rows), 1)
    grid = _sequence(len(rows), vertical=True) + b''.join(
        b'\xfc' + _span(i * row_px, row_px) + _docks(names, pictures_px, vertical=False)
        for i, names in enumerate(rows)
    )
    right = _area(1, (pictures_px, height), grid)
    areas = [left, right] if rows else [left]
    centre = struct.pack('>2i', width - _PANEL_WIDTH_PX - pictures_px, height)
    corners = struct.pack('>4i', 4, 4, 8, 8)  # as rviz writes them
    tools = b'\xfc' + struct.pack('>3i', 1, 2, 1) + _text('Tools') + b'\x01'
    tools += struct.pack('>4i', 0, -1, 0, 0)
    head = struct.pack('>iiBi', 0xFF, 0, 0xFD, len(areas))
    return (head + b''.join(areas) + centre + corners + tools).hex()


# QMainWindow::saveState of Qt 5 and 6: markers, and big-endian numbers.


def _area(side: int, size_wh: tuple[int, int], content: bytes) -> bytes:
    return struct.pack('>3i', side, *size_wh) + content


def _sequence(count: int, vertical: bool) -> bytes:
    return struct.pack('>BBi', 0xFC, 2 if vertical else 1, count)


def _docks(names: Sequence[str], length_px: int, vertical: bool) -> bytes:
    each_px = length_px // max(len(names), 1)
    return _sequence(len(names), vertical) + b''.join(
        b'\xfb' + _text(name) + b'\x01' + _span(i * each_px, each_px)
        for i, name in enumerate(names)
    )


def _span(at_px: int, length_px: int) -> bytes:
    return struct.pack('>4i', at_px, length_px, 60, 0xFFFFFF)  # and its limits


def _text(text: str) -> bytes:
    data = text.encode('utf-16-be')
    return struct.pack('>i', len(data)) + data


def _can_show(display: Mapping[str, Any], heads: Set[str]) -> bool:
    """Tell whether a model with these heads serves a display."""
    needed = _NEEDS.get(display['Name'].split()[-1])
    return needed is None or bool(needed & heads)


def _renamed(tree: Any, node: str, camera: str, image_topic: str) -> Any:
    """Return a copy of a display and those below it, for another camera."""
    if isinstance(tree, dict):
        return {key: _renamed(value, node, camera, image_topic) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_renamed(value, node, camera, image_topic) for value in tree]
    if not isinstance(tree, str):
        return tree
    if tree == _IMAGE_TOPIC:
        return image_topic
    text = _BELOW.sub(lambda found: f'{node}{found[1] or ""}/{camera}/', tree)
    return _NAME.sub(lambda _: camera, text)


def _applies(pattern: str, node: str) -> bool:
    """Tell whether a section of a parameter file is for a node."""
    wild = {'**': '.*', '*': '[^/]+'}
    parts = re.split(r'(\*\*|\*)', pattern if pattern.startswith('/') else f'/{pattern}')
    return bool(re.fullmatch(''.join(wild.get(part) or re.escape(part) for part in parts), node))


def _full_name(topic: str, node: str) -> str:
    if topic.startswith('~/'):
        return f'{node}{topic[1:]}'
    return topic if topic.startswith('/') else f'{node.rpartition("/")[0]}/{topic}'
