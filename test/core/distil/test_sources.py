from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from theia_ros.distil.sources import find
from theia_ros.distil.sources import Reading
from theia_ros.distil.sources import samples
from theia_ros.distil.sources import stamp
from theia_ros.errors import BagError
from theia_ros.errors import ParameterError


def read(path: Path, reading: Reading | None = None):
    bad: Counter[str] = Counter()
    return list(samples(path, reading or Reading(), bad)), bad


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """Three seconds of two cameras at 10 Hz, one raw and one compressed, written by rosbags."""
    rosbags = pytest.importorskip('rosbags.rosbag2')
    import io

    from rosbags.typesys import get_typestore
    from rosbags.typesys import Stores

    types = get_typestore(Stores.ROS2_HUMBLE)
    of = types.types
    path = tmp_path / 'drive'
    with rosbags.Writer(path, version=9) as writer:
        kinds = {'/front': 'sensor_msgs/msg/Image', '/wrist': 'sensor_msgs/msg/CompressedImage'}
        to = {t: writer.add_connection(t, k, typestore=types) for t, k in kinds.items()}
        for i in range(30):
            header = of['std_msgs/msg/Header'](of['builtin_interfaces/msg/Time'](i, 0), 'lens')
            pixels = np.full((4, 6, 3), i, np.uint8)
            raw = of[kinds['/front']](header, 4, 6, 'bgr8', 0, 18, pixels.reshape(-1))
            encoded = io.BytesIO()
            Image.fromarray(pixels).save(encoded, 'png')
            data = encoded.getvalue() if i != 5 else b'no picture'
            packed = of[kinds['/wrist']](header, 'png', np.frombuffer(data, np.uint8))
            for topic, message in (('/front', raw), ('/wrist', packed)):
                cdr = types.serialize_cdr(message, kinds[topic])
                writer.write(to[topic], i * 100_000_000, cdr)
    return path


class TestFind:
    def test_a_folder_stands_for_everything_below_it(self, photos: Path, clip: Path, bag) -> None:
        below = photos / 'more'
        below.mkdir()
        shutil.copy(clip, below / 'clip.mp4')
        shutil.copytree(bag, below / 'bag')
        (photos / 'notes.txt').write_text('')
        found = find([photos])
        assert [path.name for path in found] == [f'{i}.png' for i in range(6)] + [
            'bag',
            'clip.mp4',
        ]

    def test_what_is_named_twice_is_read_once(self, photos: Path) -> None:
        assert len(find([photos, photos / '0.png'])) == 6

    def test_mistakes_are_told(self, tmp_path: Path) -> None:
        (tmp_path / 'notes.txt').write_text('')
        for path, said in (
            ('nowhere', 'nowhere: no such file or folder'),
            ('notes.txt', r'notes.txt is of no known kind; known: .bmp .jpeg'),
            ('.', 'holds no image, video or bag'),
        ):
            with pytest.raises(ParameterError, match=said):
                find([tmp_path / path])


class TestImages:
    def test_an_image_is_a_picture_of_its_own(self, photos: Path) -> None:
        (sample,), bad = read(photos / '0.png')
        assert (sample.name, sample.series, sample.labels) == ('photos/0.png', '', None)
        assert (sample.rgb == np.asarray(Image.open(photos / '0.png'))).all()
        assert not bad

    def test_a_broken_one_is_skipped_and_counted(self, photos: Path) -> None:
        (photos / '0.png').write_bytes((photos / '0.png').read_bytes()[:500])
        (photos / '1.png').write_text('no picture')
        assert read(photos / '0.png') == ([], {'decode': 1})
        assert read(photos / '1.png') == ([], {'format': 1})


class TestVideos:
    def test_the_truth_belongs_to_its_frame(self, clip: Path) -> None:
        found, bad = read(clip)
        assert len(found) == 12
        assert not bad
        for i, sample in enumerate(found):
            assert sample.name == f'square.mp4 {i}'
            assert sample.series == str(clip)
            assert sample.depth_m.dtype == np.float32
            assert sample.depth_m[20, 4 * i + 8] == 1.0
            assert (sample.labels == 3).sum() == 20 * min(16, 64 - 4 * i)
            # The square is bright where the truth says that it is.
            assert sample.rgb[40, 8 * i + 10, 0] > 180 > 100 > sample.rgb[90, 8 * i + 10, 0]

    def test_without_truth_pictures_come_at_the_rate(self, clip: Path, tmp_path: Path) -> None:
        video = Path(shutil.copy(clip, tmp_path / 'plain.mp4'))  # 2 frames a second
        for rate_hz, frames in ((0.5, [0, 4, 8]), (2.0, list(range(12))), (9.0, list(range(12)))):
            found, _ = read(video, Reading(rate_hz))
            assert [sample.name for sample in found] == [f'plain.mp4 {i}' for i in frames]
            assert all(sample.labels is None for sample in found)

    def test_a_file_that_is_no_video_is_counted(self, tmp_path: Path) -> None:
        (tmp_path / 'a.mp4').write_bytes(b'no video at all')
        assert read(tmp_path / 'a.mp4') == ([], {'video': 1})

    def test_a_truth_that_does_not_fit_is_told(self, clip: Path, tmp_path: Path) -> None:
        video = Path(shutil.copy(clip, tmp_path / 'a.mp4'))
        truth = tmp_path / 'a_truth.npz'
        truth.write_bytes(b'PK no archive')
        with pytest.raises(ParameterError, match=r'a_truth\.npz is no truth of a video'):
            read(video)
        np.savez(truth, frame_index=np.arange(3), depth_mm=np.ones((2, 4, 4)), labels=np.ones(3))
        with pytest.raises(ParameterError, match=r'one \(h, w\) map for each of 3 frames'):
            read(video)


class TestBags:
    def test_every_camera_gives_pictures_at_the_rate(self, bag: Path) -> None:
        found, bad = read(bag, Reading(rate_hz=2.0))
        values = {topic: [] for topic in ('/front', '/wrist')}
        for sample in found:
            values[sample.series.rpartition(':')[2]].append(int(sample.rgb[0, 0, 0]))
        # The fifth of the compressed ones is broken: the next one takes its place.
        assert values == {'/front': [0, 5, 10, 15, 20, 25], '/wrist': [0, 6, 10, 15, 20, 25]}
        assert bad == {'decode': 1} or bad == {'format': 1}

    def test_a_bag_that_was_cut_off_gives_what_is_there(self, bag: Path) -> None:
        (file,) = bag.glob('*.db3')
        file.write_bytes(file.read_bytes()[:6000])
        with pytest.raises(BagError, match='cannot be read'):
            read(bag)

    def test_topics_can_be_chosen(self, bag: Path) -> None:
        found, _ = read(bag, Reading(topics=('/wrist',)))
        assert {sample.series.rpartition(':')[2] for sample in found} == {'/wrist'}
        with pytest.raises(ParameterError, match='it has /front, /wrist'):
            read(bag, Reading(topics=('/back',)))


def test_a_change_of_the_truth_is_a_change_of_the_video(clip: Path, tmp_path: Path) -> None:
    for name in ('square.mp4', 'square_truth.npz'):
        shutil.copy2(clip.with_name(name), tmp_path / name)
    before = stamp(tmp_path / 'square.mp4')
    assert json.dumps(before) == json.dumps(stamp(tmp_path / 'square.mp4'))
    (tmp_path / 'square_truth.npz').write_bytes(b'other')
    assert before != stamp(tmp_path / 'square.mp4')
