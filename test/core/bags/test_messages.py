from __future__ import annotations

import contextlib
import re
from pathlib import Path

import numpy as np
import pytest
from helpers import bags

import theia_ros
from theia_ros import conversions
from theia_ros.bags import messages
from theia_ros.datatypes import Features
from theia_ros.datatypes import Region
from theia_ros.errors import BagError
from theia_ros.errors import FrameError

ROOT = Path(__file__).parents[3]


def test_types_are_those_of_ros() -> None:
    lines = (ROOT / 'msg' / 'interfaces.lock').read_text().splitlines()
    locked = dict(line.split() for line in lines if not line.startswith('#'))
    assert set(messages.definitions()) == set(locked)
    assert {name: messages.typestore().hash_rihs01(name) for name in locked} == locked


def test_constants_are_those_of_the_definition() -> None:
    text = messages.definitions()[messages.FEATURES]
    defined = {name.lower(): int(number) for name, number in re.findall(r'uint8 (\w+)=(\d)', text)}
    assert defined == {'float32': 1, 'float16': 2, 'bfloat16': 3}
    for name, (number, _) in conversions.DTYPES.items():
        assert number == defined[name]


@pytest.mark.parametrize('place', ['package', 'checkout', 'ament'])
def test_definitions_are_found_wherever_they_are_installed(
    place: str, tmp_path: Path, monkeypatch
) -> None:
    package = tmp_path / 'lib' / 'theia_ros'
    folder = {
        'package': package / 'msg',
        'checkout': tmp_path / 'lib' / 'msg',
        'ament': tmp_path / 'ros' / 'share' / 'theia_msgs' / 'msg',
    }[place]
    folder.mkdir(parents=True)
    (folder / 'Latency.msg').write_text('uint8 x\n')
    monkeypatch.setattr(theia_ros, '__file__', str(package / '__init__.py'))
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'{tmp_path / "other"}:{tmp_path / "ros"}')
    assert messages.definitions() == {'theia_msgs/msg/Latency': 'uint8 x\n'}


def test_definitions_that_are_nowhere(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(theia_ros, '__file__', str(tmp_path / 'theia_ros' / '__init__.py'))
    monkeypatch.delenv('AMENT_PREFIX_PATH', raising=False)
    with pytest.raises(BagError, match='install theia_ros again, or source the workspace'):
        messages.definitions()


@pytest.mark.parametrize('dtype', ['float32', 'float16'])
def test_features_come_back_from_their_bytes(dtype: str) -> None:
    tokens = np.arange(12, dtype=np.float32).reshape(6, 2) / 8
    features = Features('clip', tokens, (2, 3), Region(1, 2, 30, 40), -5, 'optical')
    raw = messages.features_as_bytes(features, dtype, 'some-model', 'd1gest')
    msg = messages.features_from_bytes(raw)
    assert (msg.name, msg.model, msg.provenance) == ('clip', 'some-model', 'd1gest')
    assert msg.header == bags.header(-5, 'optical')
    assert (msg.grid_height, msg.grid_width) == (2, 3)
    assert (msg.region.x_offset, msg.region.y_offset) == (1, 2)
    assert (msg.region.width, msg.region.height) == (30, 40)
    found = conversions.tokens_from_message(msg)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, tokens)


def test_messages_of_big_endian_machines_are_read() -> None:
    rgb = bags.pixels(3)
    msg = bags.STORE.deserialize_cdr(bags.image(rgb, 7, 'f'), bags.IMAGE)
    raw = bytes(bags.STORE.serialize_cdr(msg, bags.IMAGE, little_endian=False))
    frame = messages.frame_of(raw, bags.IMAGE)
    np.testing.assert_array_equal(frame.rgb, rgb)
    assert (frame.stamp_ns, frame.frame_id) == (7, 'f')


@pytest.mark.parametrize('kind', [messages.IMAGE, messages.COMPRESSED])
def test_any_bytes_are_a_picture_or_a_frame_error(kind: str) -> None:
    good = {messages.IMAGE: bags.image, messages.COMPRESSED: bags.jpeg}[kind](bags.pixels(1))
    random = np.random.default_rng(1)
    for size in random.integers(0, len(good), 100):
        with pytest.raises(FrameError):
            messages.frame_of(good[:size], kind)
    for _ in range(300):
        data = bytearray(good)
        for place in random.integers(0, 80, 3):
            data[place] = random.integers(256)
        with contextlib.suppress(FrameError):
            assert messages.frame_of(bytes(data), kind).rgb.ndim == 3
