"""`theia-ros bag` from outside: real bags in, real results out, with the fake engine."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import bags
from helpers import synthetic
from rosbags.interfaces import QosDurability
from rosbags.interfaces import QosReliability
from rosbags.rosbag2 import CompressionMode
from rosbags.rosbag2 import Reader
from rosbags.typesys import get_types_from_msg
from safetensors import safe_open
from safetensors.numpy import load_file

from theia_ros.bags import convert
from theia_ros.cli import main
from theia_ros.datatypes import Frame
from theia_ros.encoder import Encoder
from theia_ros.images import decode_rgb
from theia_ros.params import EncoderParams

FAKE = ('--backend', 'fake', '--model', 'theia-tiny-patch16-224-cddsv')
FRONT, WRIST = '/theia/front/features', '/theia/wrist/features'


@pytest.fixture
def stereo(tmp_path: Path) -> Path:
    return bags.write(tmp_path / 'in', bags.stereo())


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / 'out'


def bag(source: Path, out: Path, *arguments: object) -> int:
    return main(['bag', str(source), str(out), *FAKE, *map(str, arguments)])


def refused(
    capsys: pytest.CaptureFixture[str], source: Path, out: Path, *arguments: object
) -> str:
    """Run the command, and return the one line of its refusal."""
    before = sorted(p.name for p in out.parent.iterdir())
    assert bag(source, out, *arguments) == 2
    said = capsys.readouterr()
    assert said.out == ''
    *notes, last = said.err.splitlines()
    assert last.startswith('theia-ros bag: ')
    assert sorted(p.name for p in out.parent.iterdir()) == before
    return said.err if notes else last


def fake_features(*frames: np.ndarray, **params: object) -> list:
    """Return what the encoder makes of pictures one at a time, without any bag."""
    model = 'theia-tiny-patch16-224-cddsv'
    with Encoder(EncoderParams(model=model, backend='fake', **params)) as encoder:
        found = [encoder.encode([Frame(rgb)], encoder.tensors)[0] for rgb in frames]
    return [encoded.features for encoded in found]


# --- what a result holds -------------------------------------------------------------------------


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_originals_stay_and_features_come_behind_their_pictures(
    storage: str, tmp_path: Path, out: Path, capsys
) -> None:
    source = bags.write(tmp_path / 'in', bags.stereo(), storage)
    assert bag(source, out) == 0
    found = bags.read(out)
    assert [m for m in found if not m[0].startswith('/theia')] == bags.read(source)
    assert found[0][:3] == ('/theia/info', 'theia_msgs/msg/EncoderInfo', 0)
    pictures = {'/front/image_raw': FRONT, '/wrist/image_raw/compressed': WRIST}
    for i, (topic, _, received, _) in enumerate(found):
        if topic in pictures:
            assert found[i + 1][0] == pictures[topic]
            assert found[i + 1][2] == received
    suffix = {'mcap': '.mcap', 'sqlite3': '.db3'}[storage]
    assert sorted(p.name for p in out.iterdir()) == ['metadata.yaml', f'out{suffix}']
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f'{out}: theia of 12 pictures, digest ')
    assert said[1:] == [
        '  front, /front/image_raw: 6 of 6 pictures, longest gap 0.10 s',
        '  wrist, /wrist/image_raw/compressed: 6 of 6 pictures, longest gap 0.10 s',
    ]


def test_storage_can_be_chosen(stereo: Path, out: Path) -> None:
    assert bag(stereo, out, '--storage', 'sqlite3') == 0
    assert (out / 'out.db3').is_file()
    assert [m for m in bags.read(out) if not m[0].startswith('/theia')] == bags.read(stereo)


def test_numbers_and_headers_are_those_of_the_pictures(stereo: Path, out: Path) -> None:
    assert bag(stereo, out, '--tensors', 'dinov2,theia') == 0
    found = bags.features(bags.read(out))
    assert len(found) == 24
    sent = {(t, ns): raw for t, _, ns, raw in bags.stereo()}
    for i in range(6):
        at = i * 100_000_000
        jpeg = bags.STORE.deserialize_cdr(
            sent['/wrist/image_raw/compressed', at + 20], bags.COMPRESSED
        )
        expected = fake_features(bags.pixels(i), decode_rgb(jpeg.data.tobytes()))
        for tensor, below in (('theia', 'features'), ('dinov2', 'dinov2/features')):
            front = found[f'/theia/front/{below}', at]
            wrist = found[f'/theia/wrist/{below}', at + 20]
            assert front.header == bags.header(5 * at + 1, 'front')
            assert wrist.header == bags.header(5 * at + 2, 'wrist')
            assert (front.name, front.model) == (tensor, 'theia-tiny-patch16-224-cddsv')
            assert np.array_equal(bags.numbers(front), expected[0][tensor].tokens)
            assert np.array_equal(bags.numbers(wrist), expected[1][tensor].tokens)
            assert (front.grid_height, front.grid_width) == expected[0][tensor].grid_hw
            region = expected[1][tensor].region
            assert wrist.region.x_offset == region.x_px
            assert wrist.region.width == region.width_px
            assert wrist.region.height == region.height_px


@pytest.mark.parametrize(
    ('stamp_ns', 'frame_id'),
    [
        (0, ''),
        (-1, 'clock went back'),
        ((2**31 - 1) * 10**9 + 999_999_999, 'robot1/front_optical'),
        (1, 'Kamera \N{LATIN SMALL LETTER U WITH DIAERESIS}ber \N{ROBOT FACE} tisch'),
        (1, 'x' * 300),
    ],
)
def test_the_bytes_of_headers_survive(stamp_ns, frame_id, tmp_path: Path, out: Path) -> None:
    raw = bags.image(bags.pixels(1), stamp_ns, frame_id)
    source = bags.write(tmp_path / 'in', [('/front/image_raw', bags.IMAGE, 7, raw)])
    assert bag(source, out) == 0
    (made,) = [data for topic, _, _, data in bags.read(out) if topic == FRONT]
    size = 4 + 8 + 4 + len(frame_id.encode()) + 1
    assert made[:size] == raw[:size]


def test_where_the_numbers_come_from_is_said_once_and_for_all(stereo: Path, out: Path) -> None:
    assert bag(stereo, out, '--reduce', 'mean', '--dtype', 'float16') == 0
    with Reader(out) as reader:
        (info,) = [c for c in reader.connections if c.topic == '/theia/info']
        (stream,) = [c for c in reader.connections if c.topic == FRONT]
        ((_, received, raw),) = reader.messages([info])
    assert received == bags.START_NS
    assert info.ext.offered_qos_profiles[0].durability == QosDurability.TRANSIENT_LOCAL
    assert stream.ext.offered_qos_profiles[0].durability == QosDurability.VOLATILE
    assert stream.ext.offered_qos_profiles[0].reliability == QosReliability.RELIABLE
    msg = bags.STORE.deserialize_cdr(raw, info.msgtype)
    assert (msg.backend, msg.reduction, msg.preprocessing) == ('fake', 'mean', 'official')
    assert msg.cameras == ['front', 'wrist']
    assert msg.image_topics == ['/front/image_raw', '/wrist/image_raw/compressed']
    assert (msg.stamp.sec, msg.stamp.nanosec) == divmod(bags.START_NS, 10**9)
    theia = next(t for t in msg.tensors if t.name == 'theia')
    assert (list(theia.shape), theia.dtype) == ([1, 192], 2)
    for features in bags.features(bags.read(out)).values():
        assert features.provenance == msg.digest
        assert (features.dtype, list(features.shape)) == (2, [1, 192])
        assert (features.grid_height, features.grid_width) == (0, 0)
    told = summary(out)
    assert told['digest'] == msg.digest
    assert told['source'] == 'in'


def summary(out: Path) -> dict:
    with Reader(out) as reader:
        return json.loads(reader.storage.metadata.custom['theia_ros bag'])


def test_quality_of_service_and_definitions_of_the_originals_stay(stereo: Path, out: Path) -> None:
    assert bag(stereo, out) == 0
    with Reader(stereo) as before, Reader(out) as after:
        found = {c.topic: c for c in after.connections}
        for connection in before.connections:
            same = found[connection.topic]
            assert same.ext == connection.ext
            assert same.msgdef == connection.msgdef
            assert same.digest == connection.digest
            assert same.msgcount == connection.msgcount


def test_unknown_types_are_copied_as_they_are(tmp_path: Path, out: Path) -> None:
    bags.STORE.register(get_types_from_msg('float64[] torque\nstring who', 'lab/msg/Gripper'))
    gripper = bags.STORE.types['lab/msg/Gripper'](torque=np.arange(3.0), who='left')
    raw = bags.raw(gripper)
    messages = [('/gripper', 'lab/msg/Gripper', 5, raw), *bags.stereo(1)]
    source = bags.write(tmp_path / 'in', messages)
    # Without its metadata the hash of the type is not known either.
    (source / 'metadata.yaml').unlink()
    assert bag(source, out) == 0
    with Reader(out) as reader:
        (connection,) = [c for c in reader.connections if c.topic == '/gripper']
        ((_, _, data),) = reader.messages([connection])
    assert data == raw
    assert 'float64[] torque' in connection.msgdef.data
    assert connection.digest == bags.STORE.hash_rihs01('lab/msg/Gripper')


def test_pictures_can_be_left_out(stereo: Path, out: Path) -> None:
    assert bag(stereo, out, '--without-images') == 0
    assert {m[0] for m in bags.read(out)} == {'/imu', '/theia/info', FRONT, WRIST}
    assert len(bags.features(bags.read(out))) == 12


def test_the_name_of_the_node_can_be_chosen(stereo: Path, out: Path) -> None:
    assert bag(stereo, out, '--node-name', '/robot1/theia', '--topics', '/front/image_raw') == 0
    topics = {m[0] for m in bags.read(out)}
    assert {t for t in topics if 'theia' in t} == {
        '/robot1/theia/info',
        '/robot1/theia/front/features',
    }


@pytest.mark.parametrize('kind', ['npz', 'safetensors'])
def test_shards(kind: str, stereo: Path, out: Path) -> None:
    arguments = ['--format', kind, '--tensors', 'theia,dinov2', '--shard-mb', 2.5]
    assert bag(stereo, out, *arguments) == 0
    told = json.loads((out / 'info.json').read_text())
    names = told['cameras']['front']['shards']
    # 1.2 MB for each picture: three until 2.5 MB are reached.
    assert names == [f'front/{i:05d}.{kind}' for i in range(2)]
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob('*.*')) == sorted(
        ['info.json', *names, *told['cameras']['wrist']['shards']]
    )
    expected = fake_features(*(bags.pixels(i) for i in range(6)))
    for shard, name in enumerate(names):
        arrays, meta = load(out / name)
        rows = range(3 * shard, 3 * shard + 3)
        assert arrays['stamp_ns'].tolist() == [500_000_000 * i + 1 for i in rows]
        received = [bags.START_NS + 100_000_000 * i for i in rows]
        assert arrays['received_ns'].tolist() == received
        for tensor in ('theia', 'dinov2'):
            assert arrays[tensor].dtype == np.float32
            same = np.stack([expected[i][tensor].tokens for i in rows])
            assert np.array_equal(arrays[tensor], same)
        assert meta['frame_ids'] == ['front']
        assert arrays['frame_id'].tolist() == [0, 0, 0]
        assert arrays['dinov2_region'].tolist() == [[4, 3, 56, 42]] * 3
        assert meta['tensors'] == {
            'theia': {'grid_hw': [14, 14]},
            'dinov2': {'grid_hw': [16, 16]},
        }
        assert (meta['camera'], meta['topic']) == ('front', '/front/image_raw')
        assert meta['encoder_info'] == told['encoder_info']
        assert meta['encoder_info']['digest'] == told['digest']


def load(path: Path) -> tuple[dict, dict]:
    if path.suffix == '.npz':
        with np.load(path) as arrays:
            return dict(arrays), json.loads(str(arrays['meta']))
    with safe_open(path, 'np') as file:
        meta = json.loads(file.metadata()['meta'])
    return load_file(path), meta


def test_shards_begin_anew_where_the_shape_changes(tmp_path: Path, out: Path) -> None:
    sizes = [(32, 48), (32, 48), (48, 48), (32, 48)]
    source = bags.write(
        tmp_path / 'in',
        [
            ('/a/image', bags.IMAGE, i, bags.image(bags.pixels(i, hw), i, f'frame{i % 2}'))
            for i, hw in enumerate(sizes)
        ],
    )
    arguments = ['--format', 'npz', '--preprocessing', 'native', '--batch', 4]
    assert bag(source, out, *arguments) == 0
    shapes = [load(path)[0]['theia'].shape for path in sorted((out / 'a').iterdir())]
    assert shapes == [(2, 6, 192), (1, 9, 192), (1, 6, 192)]
    arrays, meta = load(out / 'a' / '00000.npz')
    assert [meta['frame_ids'][i] for i in arrays['frame_id']] == ['frame0', 'frame1']


# --- which pictures ------------------------------------------------------------------------------


def received(out: Path, topic: str = FRONT) -> list[float]:
    """Return when the pictures were received that features are there of, seconds."""
    return [ns / 1e9 for name, ns in bags.features(bags.read(out)) if name == topic]


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (['--every', 3], [0.0, 0.3, 0.6, 0.9]),
        (['--max-rate-hz', 5], [0.0, 0.2, 0.4, 0.6, 0.8]),
        (['--max-rate-hz', '2.5,1'], [0.0, 0.4, 0.8]),
        (['--every', 2, '--max-rate-hz', 3], [0.0, 0.4, 0.8]),
        (['--start', 0.25, '--end', 0.6], [0.3, 0.4, 0.5]),
        (['--start', 0.7], [0.7, 0.8, 0.9]),
        (['--start', 0.7, '--end', 'inf'], [0.7, 0.8, 0.9]),
        (['--start', 0.8, '--end', 1e12], [0.8, 0.9]),
        (['--end', 0.1], [0.0]),
    ],
)
def test_pictures_are_chosen_by_time_and_number(
    arguments, expected, tmp_path: Path, out: Path
) -> None:
    source = bags.write(tmp_path / 'in', bags.stereo(10))
    assert bag(source, out, *arguments) == 0
    assert received(out) == expected


def test_what_the_rate_leaves_out_is_counted_and_stays_in_the_bag(
    tmp_path: Path, out: Path, capsys
) -> None:
    source = bags.write(tmp_path / 'in', bags.stereo(10))
    assert bag(source, out, '--every', 4) == 0
    assert [m for m in bags.read(out) if not m[0].startswith('/theia')] == bags.read(source)
    assert 'front, /front/image_raw: 3 of 10 pictures, 7 left out by the rate' in (
        capsys.readouterr().out
    )
    assert summary(out)['cameras']['wrist']['limited'] == 7


def test_a_part_of_the_time_is_a_part_of_all_topics(stereo: Path, out: Path) -> None:
    assert bag(stereo, out, '--start', 0.2, '--end', 0.3) == 0
    assert [(m[0], m[2]) for m in bags.read(out)] == [
        ('/theia/info', 200_000_000),
        ('/front/image_raw', 200_000_000),
        (FRONT, 200_000_000),
        ('/imu', 200_000_010),
        ('/wrist/image_raw/compressed', 200_000_020),
        (WRIST, 200_000_020),
    ]


def test_cameras_can_be_named(stereo: Path, out: Path) -> None:
    topics = '/wrist/image_raw/compressed,/front/image_raw'
    assert bag(stereo, out, '--topics', topics, '--cameras', 'hand,head') == 0
    found = bags.features(bags.read(out))
    assert {name for name, _ in found} == {'/theia/hand/features', '/theia/head/features'}
    assert found['/theia/hand/features', 20].header.frame_id == 'wrist'


# --- bad pictures and bad bags -------------------------------------------------------------------


def test_bad_pictures_are_counted_by_camera_and_reason(tmp_path: Path, out: Path, capsys) -> None:
    good = bags.pixels(1)
    raw = bags.image(good)
    pictures = [
        bags.image(good),
        bags.image(bags.pixels(2, (17, 90))),  # of another size, which is no fault
        bags.image(good, data=np.zeros(100, np.uint8)),
        bags.image(good, height=4800),
        bags.image(good, step=10),
        bags.image(good, encoding='rgb9'),
        bags.image(good, encoding='rgb9'),
        bags.image(good, width=0, step=0, data=np.zeros(0, np.uint8)),
        raw[:40],
        raw[: len(raw) // 2],
        b'',
        b'\x00\x01\x00\x00' + b'\xff' * 60,
        bags.image(good),
    ]
    jpeg = bags.jpeg(good)
    compressed = [
        jpeg,
        jpeg[: len(jpeg) - 300],  # the message itself is cut
        bags.compressed(b'\xff\xd8\xff\xe0 no more'),
        bags.compressed(b'no picture'),
        bags.compressed(b''),
        jpeg,
    ]
    messages = [('/front/image_raw', bags.IMAGE, i, data) for i, data in enumerate(pictures)]
    messages += [
        ('/wrist/compressed', bags.COMPRESSED, 100 + i, data) for i, data in enumerate(compressed)
    ]
    source = bags.write(tmp_path / 'in', messages)
    assert bag(source, out, '--batch', 4) == 0
    cameras = summary(out)['cameras']
    assert cameras['front']['bad'] == {
        'encoding': 2,
        'message': 4,
        'short': 2,
        'size': 1,
        'step': 1,
    }
    assert cameras['wrist']['bad'] == {'decode': 1, 'format': 2, 'message': 1}
    for camera in cameras.values():
        assert camera['pictures'] == camera['encoded'] + sum(camera['bad'].values())
    found = bags.features(bags.read(out))
    assert [ns for name, ns in found if name == FRONT] == [0, 1, 12]
    assert [ns for name, ns in found if name == WRIST] == [100, 105]
    assert [m for m in bags.read(out) if not m[0].startswith('/theia')] == messages
    assert (found[FRONT, 1].region.width, found[FRONT, 1].region.height) == (90, 17)
    expected = fake_features(bags.pixels(2, (17, 90)))[0]['theia'].tokens
    assert np.array_equal(bags.numbers(found[FRONT, 1]), expected)
    said = capsys.readouterr()
    warned = said.err.splitlines()
    assert len(warned) == 8  # one for each camera and reason
    assert all(line.endswith('further ones are only counted') for line in warned)
    assert "camera front: encoding 'rgb9' is not supported" in said.err
    assert 'bad: 2 encoding, 4 message, 2 short, 1 size, 1 step' in said.out


def test_two_cameras_with_gaps(tmp_path: Path, out: Path, capsys) -> None:
    messages = [m for m in bags.stereo(20) if not ('front' in m[0] and 0.25 < m[2] / 1e9 < 1.45)]
    source = bags.write(tmp_path / 'in', messages)
    assert bag(source, out) == 0
    assert received(out) == [0.0, 0.1, 0.2, 1.5, 1.6, 1.7, 1.8, 1.9]
    assert len(received(out, WRIST)) == 20
    said = capsys.readouterr().out
    assert '  front, /front/image_raw: 8 of 8 pictures, longest gap 1.30 s\n' in said
    assert '  wrist, /wrist/image_raw/compressed: 20 of 20 pictures, longest gap 0.10 s' in said


def test_a_wrong_size_costs_the_others_of_its_batch_nothing(
    tmp_path: Path, out: Path, capsys
) -> None:
    # `native` keeps the picture's size, so that those of a batch must have the same.
    sizes = [(48, 64)] * 3 + [(8, 8), (64, 48)] + [(48, 64)] * 3
    source = bags.write(
        tmp_path / 'in',
        [
            ('/front/image_raw', bags.IMAGE, i, bags.image(bags.pixels(i, hw)))
            for i, hw in enumerate(sizes)
        ],
    )
    assert bag(source, out, '--preprocessing', 'native', '--batch', 8) == 0
    found = bags.features(bags.read(out))
    shapes = [list(f.shape) for f in found.values()]
    assert shapes == [[12, 192]] * 3 + [[12, 192]] * 4
    assert [ns for _, ns in found] == [0, 1, 2, 4, 5, 6, 7]
    assert summary(out)['cameras']['front']['bad'] == {'size': 1}
    expected = fake_features(
        *(bags.pixels(i, hw) for i, hw in enumerate(sizes) if i != 3), preprocessing='native'
    )
    for features, same in zip(found.values(), expected, strict=True):
        assert np.array_equal(bags.numbers(features), same['theia'].tokens)


def test_nothing_but_bad_pictures_is_a_refusal(tmp_path: Path, out: Path, capsys) -> None:
    bad = bags.image(bags.pixels(1), encoding='16UC7')
    messages = [('/depth/image', bags.IMAGE, i, bad) for i in range(5)]
    source = bags.write(tmp_path / 'in', messages)
    said = refused(capsys, source, out)
    assert said.endswith(f'no picture of {source} can be used, bad are depth: 5 encoding\n')


def test_bags_that_cannot_be_used_are_refused_in_one_line(
    stereo: Path, tmp_path: Path, out: Path, capsys
) -> None:
    imu = bags.write(tmp_path / 'imu', [('/imu', bags.IMU, 0, bags.imu())])
    empty = bags.write(tmp_path / 'empty', [])
    folder = tmp_path / 'folder'
    folder.mkdir()
    text = tmp_path / 'notes.txt'
    text.write_text('no bag')
    lying = tmp_path / 'lying.mcap'
    lying.write_bytes(b'no mcap at all, whatever its name says')
    base = tmp_path / 'lying.db3'
    base.write_bytes(b'no database at all')
    ros1 = tmp_path / 'old.bag'
    ros1.write_bytes(b'#ROSBAG V2.0\n' + bytes(100))
    inside = tmp_path / 'ros1'
    inside.mkdir()
    shutil.copy(ros1, inside)
    damaged = tmp_path / 'damaged'
    shutil.copytree(stereo, damaged)
    data = bytearray((damaged / 'in.mcap').read_bytes())
    data[-200:-100] = b'\xaa' * 100
    (damaged / 'in.mcap').write_bytes(data)
    missing = tmp_path / 'missing'
    shutil.copytree(stereo, missing)
    (missing / 'in.mcap').rename(missing / 'other.mcap')
    for source, expected in (
        (tmp_path / 'absent', 'absent: no such bag'),
        (imu, 'no topic has pictures; there is /imu'),
        (empty, 'empty holds no messages'),
        (folder, 'is no bag of ROS 2: no .mcap or .db3 file is in it'),
        (text, 'notes.txt is no bag of ROS 2; expected a folder'),
        (lying, 'lying.mcap cannot be read: File magic is invalid.'),
        (base, 'lying.db3 cannot be read: '),
        (ros1, 'is a bag of ROS 1; make one of ROS 2 of it: rosbags-convert --src'),
        (inside, 'old.bag is a bag of ROS 1'),
        (damaged, 'damaged cannot be read: '),
        (missing, 'Some database files are missing'),
    ):
        line = refused(capsys, source, out)
        assert expected in line, source
        assert line.count('\n') == 0, line


def test_mistakes_are_one_line(
    stereo: Path, tmp_path: Path, out: Path, monkeypatch, capsys
) -> None:
    for arguments, expected in (
        (['--topics', '/imu'], 'topic /imu has type sensor_msgs/msg/Imu; expected Image or Comp'),
        (['--topics', '/rear'], 'topic /rear is absent; with pictures: /front/image_raw, /wrist'),
        (['--cameras', 'one'], '--cameras names 1 and there are 2 topics with pictures'),
        (['--cameras', 'a,b c'], "camera 'b c' cannot be part of a topic"),
        (['--cameras', 'a,a'], 'camera a is named twice'),
        (['--topics', '/front/image_raw,/front/image_raw'], 'topic /front/image_raw is named tw'),
        (['--tensors', 'deep'], "has no tensor 'deep'; it has theia, "),
        (['--tensors', ','], '--tensors names none'),
        (['--tensors', 'theia,theia'], '--tensors names one twice'),
        (['--every', 0], '--every is 0; use 1 or more'),
        (['--batch', 0], '--batch is 0; use 1 or more'),
        (['--batch', 65], 'max_batch is 65; use 1 to 64'),
        (['--max-rate-hz', 'fast'], '--max-rate-hz is fast; use a number'),
        (['--max-rate-hz', '1,2,3'], 'max_rate_hz has 3 values; give one, or one for each'),
        (['--max-rate-hz', -1], 'max_rate_hz is -1.0; use 0.0 to 1000.0'),
        (['--start', 3, '--end', 2], '--start 3 and --end 2.0 leave nothing between them'),
        (['--start', 'nan'], '--start nan'),
        (['--start', 100], 'has no pictures of front, wrist in the time asked for'),
        (['--start', 'inf'], 'has no pictures of front, wrist in the time asked for'),
        (['--shard-mb', 0], '--shard-mb is 0.0; use more than 0'),
        (['--shard-mb', 'inf'], '--shard-mb is inf; use more than 0'),
        (['--node-name', 'theia'], '--node-name is theia; use one such as /theia'),
        (['--node-name', '/'], '--node-name is /; use one such as /theia'),
        (['--node-name', '/a b'], '--node-name is /a b; use one such as /theia'),
        (['--expect', 'abc'], "--expect is 'abc'; expected a digest"),
    ):
        assert expected in refused(capsys, stereo, out, *arguments)
    nowhere = tmp_path / 'nowhere' / 'out'
    assert bag(stereo, nowhere) == 2
    assert f'folder {nowhere.parent} does not exist' in capsys.readouterr().err
    (tmp_path / 'elsewhere').mkdir()
    monkeypatch.chdir(tmp_path / 'elsewhere')
    assert bag(stereo, Path()) == 2
    assert 'has no name of its own' in capsys.readouterr().err
    for wrong in (stereo, stereo / 'out', stereo.parent):
        assert bag(stereo, wrong) == 2
        assert 'lie in one another' in capsys.readouterr().err


def test_features_of_a_recording_are_not_mixed_with_others(
    stereo: Path, tmp_path: Path, capsys
) -> None:
    first = tmp_path / 'first'
    assert bag(stereo, first) == 0
    capsys.readouterr()
    second = tmp_path / 'second'
    said = refused(capsys, first, second)
    assert '/theia/info already; use another --node-name' in said
    assert bag(first, second, '--node-name', '/again') == 0
    # What the first run published is no camera.
    assert len(bags.features(bags.read(second))) == 24


def test_a_recording_without_metadata_is_read(stereo: Path, out: Path, capsys) -> None:
    (stereo / 'metadata.yaml').unlink()
    assert bag(stereo, out) == 0
    assert len(bags.features(bags.read(out))) == 12
    said = capsys.readouterr().err
    note = f'{stereo} has no metadata.yaml, so it was not closed by its recorder'
    assert said == f'theia-ros bag: {note}\n'
    assert summary(out)['notes'] == [note]


def test_a_file_alone_is_read(stereo: Path, out: Path) -> None:
    assert bag(stereo / 'in.mcap', out) == 0
    assert [m for m in bags.read(out) if not m[0].startswith('/theia')] == bags.read(stereo)


@pytest.mark.parametrize('text', ['[', 'rosbag2_bagfile_information: 3', 'a: b', '\x00\x01'])
def test_damaged_metadata_is_not_needed(text: str, stereo: Path, out: Path, capsys) -> None:
    (stereo / 'metadata.yaml').write_text(text)
    assert bag(stereo, out) == 0
    assert len(bags.features(bags.read(out))) == 12
    assert 'metadata.yaml cannot be used: ' in capsys.readouterr().err


@pytest.mark.parametrize('metadata', [True, False])
def test_an_unfinished_recording_is_read_up_to_its_cut(
    metadata: bool, tmp_path: Path, out: Path, capsys
) -> None:
    # Pictures of a megabyte, so that there are several chunks.
    messages = [
        ('/front/image_raw', bags.IMAGE, i, bags.image(bags.pixels(i, (600, 700)), i))
        for i in range(9)
    ]
    source = bags.write(tmp_path / 'in', messages)
    file = source / 'in.mcap'
    whole = file.stat().st_size
    os.truncate(file, whole * 2 // 3)
    if not metadata:
        (source / 'metadata.yaml').unlink()
    assert bag(source, out) == 0
    found = [m for m in bags.read(out) if not m[0].startswith('/theia')]
    assert found == messages[:6]
    assert list(bags.features(bags.read(out))) == [(FRONT, i) for i in range(6)]
    said = capsys.readouterr().err
    assert 'in.mcap is unfinished: ' in said
    assert f' of its {whole * 2 // 3} bytes can be read, 6 messages\n' in said
    with Reader(out) as reader:
        (connection,) = [c for c in reader.connections if c.topic == '/front/image_raw']
    assert connection.ext.offered_qos_profiles == [bags.qos()]
    assert connection.digest == bags.STORE.hash_rihs01(bags.IMAGE)


@pytest.mark.parametrize('size', [8, 9, 60, 300])
def test_a_recording_with_nothing_before_the_cut_is_refused(
    size: int, stereo: Path, out: Path, capsys
) -> None:
    os.truncate(stereo / 'in.mcap', size)
    assert refused(capsys, stereo, out).endswith('in holds no messages')


@pytest.mark.parametrize(
    ('storage', 'mode'),
    [
        ('mcap', CompressionMode.FILE),
        ('mcap', CompressionMode.MESSAGE),
        ('mcap', CompressionMode.STORAGE),
        ('sqlite3', CompressionMode.FILE),
        ('sqlite3', CompressionMode.MESSAGE),
    ],
)
def test_compressed_recordings_are_read(storage, mode, tmp_path: Path, out: Path) -> None:
    source = bags.write(tmp_path / 'in', bags.stereo(), storage, mode)
    assert bag(source, out) == 0
    assert [m for m in bags.read(out) if not m[0].startswith('/theia')] == bags.stereo()
    assert len(bags.features(bags.read(out))) == 12
    suffix = {'mcap': '.mcap', 'sqlite3': '.db3'}[storage]
    assert (out / f'out{suffix}').is_file()


def test_a_compressed_file_without_metadata_is_refused(tmp_path: Path, out: Path, capsys) -> None:
    source = bags.write(tmp_path / 'in', bags.stereo(), 'mcap', CompressionMode.FILE)
    (source / 'metadata.yaml').unlink()
    said = refused(capsys, source, out)
    assert 'in.mcap.zstd is compressed; unpack it with unzstd and try again' in said


def test_an_empty_file_of_several_costs_nothing(tmp_path: Path, out: Path, capsys) -> None:
    source = bags.write(tmp_path / 'in', bags.stereo())
    (source / 'metadata.yaml').unlink()
    (source / 'in_1.mcap').touch()
    assert bag(source, out) == 0
    assert len(bags.features(bags.read(out))) == 12
    assert 'in_1.mcap is empty' in capsys.readouterr().err


def test_files_of_a_recording_are_read_in_the_order_of_their_numbers(
    tmp_path: Path, out: Path
) -> None:
    source = tmp_path / 'in'
    source.mkdir()
    for number in (10, 9, 0):
        part = bags.write(
            tmp_path / 'part',
            [('/a/image', bags.IMAGE, number, bags.image(bags.pixels(number), number))],
        )
        shutil.move(part / 'part.mcap', source / f'in_{number}.mcap')
        shutil.rmtree(part)
    assert bag(source, out) == 0
    assert [ns for _, ns in bags.features(bags.read(out))] == [0, 9, 10]


def test_a_database_whose_log_was_not_taken_over_is_refused(
    tmp_path: Path, out: Path, capsys
) -> None:
    source = bags.write(tmp_path / 'in', bags.stereo(), 'sqlite3')
    (source / 'in.db3-wal').write_bytes(b'messages')
    said = refused(capsys, source, out)
    assert 'in.db3 is unfinished: in.db3-wal holds messages that are not in it yet' in said


def test_a_database_that_ends_in_the_middle_is_refused(tmp_path: Path, out: Path, capsys) -> None:
    source = bags.write(tmp_path / 'in', bags.stereo(20), 'sqlite3')
    os.truncate(source / 'in.db3', (source / 'in.db3').stat().st_size // 2)
    said = refused(capsys, source, out)
    assert 'malformed' in said
    assert said.count('\n') == 0


def test_a_recording_with_fewer_messages_than_promised_is_told(
    stereo: Path, out: Path, capsys
) -> None:
    text = (stereo / 'metadata.yaml').read_text()
    (stereo / 'metadata.yaml').write_text(text.replace('message_count: 18', 'message_count: 25'))
    assert bag(stereo, out) == 0
    assert summary(out)['notes'] == [f'{stereo} promises 25 messages, and 18 are there']


# --- results that are there already, and disks ---------------------------------------------------


def test_a_result_is_replaced_only_if_asked(stereo: Path, out: Path, capsys) -> None:
    assert bag(stereo, out) == 0
    before = (out / 'out.mcap').read_bytes()
    capsys.readouterr()
    assert f'{out} exists; use another name, or --overwrite' in refused(capsys, stereo, out)
    assert (out / 'out.mcap').read_bytes() == before
    assert bag(stereo, out, '--reduce', 'max', '--overwrite') == 0
    assert {tuple(f.shape) for f in bags.features(bags.read(out)).values()} == {(1, 192)}
    assert sorted(p.name for p in out.parent.iterdir()) == ['in', 'out']


def test_what_another_made_is_never_replaced(stereo: Path, tmp_path: Path, capsys) -> None:
    recording = bags.write(tmp_path / 'recording', bags.stereo(1))
    mine = tmp_path / 'mine'
    mine.mkdir()
    (mine / 'thesis.txt').write_text('years of work')
    file = tmp_path / 'file'
    file.write_text('text')
    for out in (recording, mine, file):
        said = refused(capsys, stereo, out, '--overwrite')
        assert f'{out} was not made by this command; remove it yourself' in said
    assert (mine / 'thesis.txt').read_text() == 'years of work'
    assert len(bags.read(recording)) == 3


def test_a_folder_of_somebody_else_beside_the_result_is_not_touched(
    stereo: Path, out: Path, capsys
) -> None:
    part = out.with_name('out.part')
    part.mkdir()
    (part / 'thesis.txt').write_text('years of work')
    assert 'thesis.txt is not of this command' in refused(capsys, stereo, out)
    assert (part / 'thesis.txt').read_text() == 'years of work'


def test_a_full_disk_loses_nothing(tmp_path: Path, out: Path) -> None:
    source = bags.write(tmp_path / 'in', bags.stereo(30))
    for limit in (1_000, 2_000_000, 9_200_000):
        done = run_process(source, out, limit_bytes=limit)
        assert done.returncode == 2, done.stderr
        line = done.stderr.splitlines()[-1]
        assert line.startswith('theia-ros bag: ')
        assert 'cannot be written: File too large; what was made so far is kept' in line
        assert 'Traceback' not in done.stderr
        assert not out.exists()
    done = run_process(source, out)
    assert done.returncode == 0
    assert 'going on after ' in done.stderr
    straight = tmp_path / 'straight'
    assert bag(source, straight) == 0
    assert bags.read(out) == bags.read(straight)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['in', 'out', 'straight']


def test_a_full_disk_is_told_of_a_database_too(tmp_path: Path, out: Path) -> None:
    source = bags.write(tmp_path / 'in', bags.stereo(30), 'sqlite3')
    done = run_process(source, out, limit_bytes=9_400_000)
    assert done.returncode == 2
    assert 'cannot be written: ' in done.stderr.splitlines()[-1]
    assert 'Traceback' not in done.stderr
    assert run_process(source, out).returncode == 0
    assert len(bags.features(bags.read(out))) == 60


@contextlib.contextmanager
def without_root():
    """Be somebody who may do less, where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_may_not_be_read_or_written_is_one_line(
    stereo: Path, out: Path, monkeypatch, capsys
) -> None:
    assert bag(stereo, out.with_name('before')) == 0  # all modules are loaded from here on
    with tempfile.TemporaryDirectory() as name:  # the folders of tests are their owner's alone
        folder = Path(name)
        monkeypatch.setenv('THEIA_ROS_CACHE', str(folder / 'cache'))
        shutil.copytree(stereo, folder / 'in')
        (folder / 'in' / 'in.mcap').chmod(0o000)
        folder.chmod(0o555)
        capsys.readouterr()
        with without_root():
            said = refused(capsys, folder / 'in', folder / 'out')
        assert said == f'theia-ros bag: {folder}/in/in.mcap cannot be read: Permission denied'
        (folder / 'in' / 'in.mcap').chmod(0o444)
        with without_root():
            said = refused(capsys, folder / 'in', folder / 'out')
        folder.chmod(0o755)
    expected = f'theia-ros bag: {folder}/out.part cannot be written: Permission denied'
    assert said.startswith(expected)


def run_process(
    source: Path,
    out: Path,
    *arguments: str,
    limit_bytes: int | None = None,
) -> subprocess.CompletedProcess[str]:
    def prepare() -> None:
        if limit_bytes is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    return subprocess.run(
        [sys.executable, '-m', 'theia_ros.cli', 'bag', source, out, *FAKE, *arguments],
        capture_output=True,
        text=True,
        preexec_fn=prepare,
        env=os.environ | {'PYTHONDONTWRITEBYTECODE': '1'},
    )


# --- cuts ----------------------------------------------------------------------------------------

SLOW = str(Path(__file__).parents[2] / 'helpers' / 'slow_bag.py')


def start_slowly(source: Path, out: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, SLOW, 'bag', source, out, *FAKE, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)},
    )


def wait_for_bytes(path: Path, size: int, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while not (path.is_file() and path.stat().st_size >= size):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize(('kind', 'sizes'), [('bag', (400_000, 3_000_000)), ('npz', (2_000_000,))])
def test_after_a_kill_the_same_command_goes_on(kind, sizes, tmp_path: Path, out: Path) -> None:
    source = bags.write(tmp_path / 'in', bags.stereo(20))
    options = ('--batch', '3', '--format', kind)
    journal = out.with_name('out.part') / 'journal'
    reached = []
    for size in sizes:
        process = start_slowly(source, out, *options)
        wait_for_bytes(journal, size, process)
        process.kill()
        process.communicate()
        assert not out.exists()
        reached.append(journal.stat().st_size)
        # As after a power failure: the last bytes never got to the disk.
        os.truncate(journal, reached[-1] - 1000)
    assert reached == sorted(reached)
    done = run_process(source, out, *options)
    assert done.returncode == 0, done.stderr
    counted = int(done.stderr.split('going on after ')[1].split()[0])
    assert 0 < counted < 40
    assert counted % 3 == 0
    straight = tmp_path / 'straight'
    assert bag(source, straight, *options) == 0
    assert same_result(out, straight)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['in', 'out', 'straight']


def same_result(a: Path, b: Path) -> bool:
    """Tell whether two results hold the same bytes, but for the names of the files."""
    if (a / 'metadata.yaml').is_file():
        return bags.read(a) == bags.read(b) and summary(a) == summary(b)
    names = [sorted(p.relative_to(f) for p in f.rglob('*') if p.is_file()) for f in (a, b)]
    return names[0] == names[1] and all(
        (a / n).read_bytes() == (b / n).read_bytes() for n in names[0]
    )


def test_a_cut_while_the_result_is_written_leaves_none(tmp_path: Path, out: Path) -> None:
    source = bags.write(tmp_path / 'in', bags.stereo(20))
    process = start_slowly(source, out, '--cut-while-writing')
    file = out.with_name('out.part') / 'out' / 'out.mcap'
    wait_for_bytes(file, 0, process)
    process.kill()
    process.communicate()
    assert not out.exists()
    done = run_process(source, out)
    assert done.returncode == 0
    assert 'going on after 40 pictures' in done.stderr
    assert len(bags.features(bags.read(out))) == 40


def test_ctrl_c_is_one_line_and_what_was_made_is_kept(tmp_path: Path, out: Path) -> None:
    source = bags.write(tmp_path / 'in', bags.stereo(20))
    process = start_slowly(source, out)
    wait_for_bytes(out.with_name('out.part') / 'journal', 400_000, process)
    process.send_signal(signal.SIGINT)
    said, told = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, '')
    assert told.splitlines()[-1] == 'theia-ros bag: stopped'
    assert 'Traceback' not in told
    assert not out.exists()
    assert 'going on after ' in run_process(source, out).stderr


def test_only_the_same_command_goes_on(tmp_path: Path, out: Path, capsys) -> None:
    source = bags.write(tmp_path / 'in', bags.stereo(20))
    process = start_slowly(source, out)
    wait_for_bytes(out.with_name('out.part') / 'journal', 400_000, process)
    assert 'out.part is in use by another process' in refused(capsys, source, out)
    process.kill()
    process.communicate()
    said = refused(capsys, source, out, '--dtype', 'float16')
    assert 'was left by another command: dtype was float32 and is float16' in said
    assert bag(source, out, '--dtype', 'float16', '--overwrite') == 0
    assert {f.dtype for f in bags.features(bags.read(out)).values()} == {2}
    assert summary(out)['cameras']['front']['encoded'] == 20


def test_a_changed_recording_is_not_gone_on_with(tmp_path: Path, out: Path, capsys) -> None:
    source = bags.write(tmp_path / 'in', bags.stereo(20))
    process = start_slowly(source, out)
    wait_for_bytes(out.with_name('out.part') / 'journal', 400_000, process)
    process.kill()
    process.communicate()
    shutil.rmtree(source)
    bags.write(source, bags.stereo(21))
    assert 'was left by another command: IN was ' in refused(capsys, source, out)


# --- the engine ----------------------------------------------------------------------------------


def test_batches_are_all_of_one_size(stereo: Path, out: Path, monkeypatch) -> None:
    sizes = []
    encode = Encoder.encode

    def counted(self, frames, outputs):
        sizes.append(len(frames))
        return encode(self, frames, outputs)

    monkeypatch.setattr(Encoder, 'encode', counted)
    assert bag(stereo, out, '--batch', 5) == 0
    assert sizes == [1, 5, 5, 5]  # the first when the encoder is opened
    assert len(bags.features(bags.read(out))) == 12


def test_a_device_that_is_too_small_gets_smaller_batches(
    stereo: Path, out: Path, monkeypatch, capsys
) -> None:
    encode = Encoder.encode

    def small(self, frames, outputs):
        if len(frames) > 3:
            raise RuntimeError('CUDA out of memory.\nTried to allocate 2 GiB')
        return encode(self, frames, outputs)

    monkeypatch.setattr(Encoder, 'encode', small)
    assert bag(stereo, out, '--batch', 8) == 0
    assert len(bags.features(bags.read(out))) == 12
    said = capsys.readouterr().err
    assert 'batches of 8 fail, going on with 4: CUDA out of memory. Tried to allocate 2 Gi' in said
    assert 'batches of 4 fail, going on with 2' in said
    monkeypatch.undo()
    straight = out.with_name('straight')
    assert bag(stereo, straight) == 0
    assert [m for m in bags.read(out) if m[0] == FRONT] == [
        m for m in bags.read(straight) if m[0] == FRONT
    ]


def test_an_engine_that_fails_ends_the_run_and_keeps_what_was_made(
    stereo: Path, out: Path, monkeypatch, capsys
) -> None:
    encode, calls = Encoder.encode, iter(range(100))

    def breaks(self, frames, outputs):
        if next(calls) == 5:
            raise RuntimeError('device lost')
        return encode(self, frames, outputs)

    monkeypatch.setattr(Encoder, 'encode', breaks)
    assert bag(stereo, out) == 2
    assert capsys.readouterr().err == 'theia-ros bag: the engine failed: device lost\n'
    assert not out.exists()
    assert bag(stereo, out) == 0
    assert 'going on after 4 pictures' in capsys.readouterr().err


def test_expected_digests(stereo: Path, tmp_path: Path, capsys) -> None:
    first = tmp_path / 'first'
    assert bag(stereo, first, '--reduce', 'mean') == 0
    digest = summary(first)['digest']
    capsys.readouterr()
    assert bag(stereo, tmp_path / 'same', '--reduce', 'mean', '--expect', digest) == 0
    assert bag(stereo, tmp_path / 'short', '--reduce', 'mean', '--expect', digest[:8]) == 0
    capsys.readouterr()
    said = refused(capsys, stereo, tmp_path / 'other', '--expect', digest)
    assert said.endswith('these features would not be the expected ones; use --reduce mean')
    said = refused(capsys, stereo, tmp_path / 'other', '--expect', '0' * 64)
    assert 'these features would have the digest ' in said


def test_the_model_of_the_published_code_gives_its_numbers(
    tiny_folder: Path, tmp_path: Path, out: Path
) -> None:
    goldens = synthetic.goldens('tiny_encoder')
    names = ('noise_224', 'scene_480x640', 'scene_96x128')
    pictures = [synthetic.golden_rule.image(name) for name in names]
    source = bags.write(
        tmp_path / 'in',
        [('/a/image', bags.IMAGE, i, bags.image(rgb)) for i, rgb in enumerate(pictures)],
    )
    arguments = ['--backend', 'torch', '--precision', 'fp32', '--model', str(tiny_folder)]
    assert main(['bag', str(source), str(out), *arguments]) == 0
    found = bags.features(bags.read(out))
    for features, name in zip(found.values(), names, strict=True):
        golden = goldens[f'tokens/{name}'][1:]
        np.testing.assert_allclose(bags.numbers(features), golden, rtol=0, atol=1e-5)


# --- around it -----------------------------------------------------------------------------------


def test_help_has_examples_and_needs_neither_torch_nor_rosbags() -> None:
    code = (
        'import sys; from theia_ros.cli import main\n'
        'try: main(["bag", "--help"])\n'
        'except SystemExit as end: assert end.code == 0\n'
        'print(sorted({"torch", "rosbags", "mcap"} & set(sys.modules)))'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == '[]'
    assert 'theia-ros bag pick_cup pick_cup_features --model demo-dinov2-small' in done.stdout


def test_progress_has_rate_and_time_left(stereo: Path, out: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(convert, '_DELAY_S', 0.0)
    assert bag(stereo, out) == 0
    said = capsys.readouterr().err
    assert re.search(r'\d+%\|.*\| \d+/12 \[\d\d:\d\d<.*image', said)
    assert re.search(r'writing: +\d+%\|.*\| \d+/18 \[', said)


def test_no_ros_is_needed(stereo: Path, out: Path) -> None:
    ros = ('rclpy', 'theia_msgs', 'sensor_msgs', 'std_msgs', 'builtin_interfaces')
    code = (
        f'import sys; sys.modules.update(dict.fromkeys({ros}))\n'
        'from theia_ros.cli import main; sys.exit(main())'
    )
    environment = {k: v for k, v in os.environ.items() if k != 'AMENT_PREFIX_PATH'}
    done = subprocess.run(
        [sys.executable, '-c', code, 'bag', stereo, out, *FAKE],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert len(bags.features(bags.read(out))) == 12


def test_a_missing_library_is_named(stereo: Path, out: Path) -> None:
    code = (
        'import sys\n'
        'class Without:\n'
        '    def find_spec(self, name, path=None, target=None):\n'
        '        if name == "rosbags":\n'
        '            raise ModuleNotFoundError("none", name=name)\n'
        'sys.meta_path.insert(0, Without())\n'
        'from theia_ros.cli import main; sys.exit(main())'
    )
    done = subprocess.run(
        [sys.executable, '-c', code, 'bag', stereo, out, *FAKE], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == ('theia-ros bag: rosbags is missing; run: pip install rosbags mcap\n')
