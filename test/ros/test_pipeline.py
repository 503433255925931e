"""One camera's misfortune costs no other camera anything, and ends in a counter."""

from __future__ import annotations

import threading
import time

import pytest
from rclpy.clock import Clock
from sensor_msgs.msg import Image

from theia_ros.encoder import Encoder
from theia_ros.nodes.camera import Arrival
from theia_ros.nodes.camera import Camera
from theia_ros.nodes.pipeline import Pipeline
from theia_ros.params import NodeParams

pytestmark = pytest.mark.needs_ros

PARAMS = NodeParams(
    backend='fake',
    model='demo-tiny',
    cameras=('left', 'right'),
    image_topics=('/left/image_raw', '/right/image_raw'),
)
MAP = 'depth/image'


class Outputs:
    """Publishers of one camera; what they do is up to the test."""

    def __init__(self, wanted):
        self.features, self.maps, self.broken = [], [], ''
        self.wanted = lambda: frozenset(wanted)

    def publish_features(self, features):
        if self.broken == 'features':
            raise ValueError('this cannot be published')
        self.features.append(features)

    def publish_maps(self, maps, info):
        if self.broken == 'maps':
            raise ValueError('this map cannot be published')
        self.maps.append(maps)


class House:
    """A pipeline with two cameras."""

    def __init__(self, encoder, wanted):
        self.errors = []
        self.cameras = {
            name: Camera(name, topic)
            for name, topic in zip(PARAMS.cameras, PARAMS.image_topics, strict=True)
        }
        self.outputs = {name: Outputs(wanted) for name in self.cameras}
        self.pipeline = Pipeline(
            encoder,
            self.cameras,
            self.outputs,
            None,
            PARAMS,
            Clock(),
            warn=self.errors.append,
            error=self.errors.append,
        )

    def show(self, name):
        """Let a picture arrive."""
        msg = Image(height=4, width=4, step=12, encoding='rgb8', data=bytes(48))
        self.cameras[name].received += 1
        self.pipeline.receive(self.cameras[name], Arrival(msg, time.monotonic_ns()))

    def see(self, *names):
        """Let a picture of each camera arrive, and wait until it ended in a counter."""
        for name in names:
            self.show(name)
            self.until(lambda c=self.cameras[name]: c.received == c.failed + c.encoded)

    @staticmethod
    def until(condition):
        patience = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < patience
            time.sleep(0.002)

    def counted(self):
        return {name: (c.encoded, c.failed) for name, c in self.cameras.items()}


@pytest.fixture(scope='module')
def encoder():
    with Encoder(PARAMS) as encoder:
        yield encoder


@pytest.fixture
def house(encoder, request):
    house = House(encoder, getattr(request, 'param', {'theia'}))
    yield house
    house.pipeline.stop()


def test_a_camera_that_cannot_be_published(house):
    house.outputs['left'].broken = 'features'
    house.see('left', 'right', 'left', 'right')

    assert house.counted() == {'left': (0, 2), 'right': (2, 0)}
    assert [str(error) for error in house.errors] == ['this cannot be published'] * 2
    house.outputs['left'].broken = ''
    house.see('left')
    assert house.counted()['left'] == (1, 2)
    house.until(lambda: house.pipeline.last_failure == '')
    assert house.pipeline.failures == 2


def test_two_cameras_in_one_round(house, monkeypatch):
    """One of which cannot be published; the good one does not make the bad one good."""
    busy, go_on = threading.Event(), threading.Event()
    infer = house.pipeline._encoder.infer

    def patient(frames, wanted):
        busy.set()
        assert go_on.wait(20)
        return infer(frames, wanted)

    monkeypatch.setattr(house.pipeline._encoder, 'infer', patient)
    house.outputs['left'].broken = 'features'
    house.show('right')
    assert busy.wait(20)
    house.show('left')
    house.show('right')
    go_on.set()
    house.until(lambda: house.counted() == {'left': (0, 1), 'right': (2, 0)})
    assert house.pipeline.last_failure == 'this cannot be published'


def test_a_camera_that_cannot_be_converted(house, monkeypatch):
    def frame(msg):
        raise MemoryError('no memory for a picture')

    monkeypatch.setattr(house.cameras['left'], 'frame', frame)
    house.see('left', 'right', 'left')

    assert house.counted() == {'left': (0, 2), 'right': (1, 0)}
    assert house.pipeline.last_failure == 'no memory for a picture'
    assert [type(error) for error in house.errors] == [MemoryError] * 2


@pytest.mark.parametrize('house', [{'theia', MAP}], indirect=True)
def test_maps_that_are_lost(house):
    """They are an error until maps are there again, however good the features are."""
    left, right = house.outputs['left'], house.outputs['right']
    left.broken = 'maps'
    house.see('left')
    house.until(lambda: house.cameras['left'].maps_failed == 1)
    house.see('right')
    house.until(lambda: right.maps)
    house.see('left')
    house.until(lambda: house.cameras['left'].maps_failed == 2)

    assert house.counted() == {'left': (2, 0), 'right': (1, 0)}
    assert house.pipeline.last_failure == 'this map cannot be published'
    left.broken = ''
    house.see('left')
    house.until(lambda: left.maps)
    house.until(lambda: house.pipeline.last_failure == '')
    assert house.cameras['left'].maps_failed == 2


@pytest.mark.parametrize('house', [{'theia', MAP}], indirect=True)
def test_maps_that_cannot_be_decoded(house, monkeypatch):
    def decode(inferred, outputs):
        raise ValueError('no map today')

    monkeypatch.setattr(house.pipeline._encoder, 'decode', decode)
    house.see('left')
    house.until(lambda: house.cameras['left'].maps_failed == 1)
    assert house.pipeline.last_failure == 'no map today'
    house.see('right')  # its features are good, and its maps are lost as well
    house.until(lambda: house.cameras['right'].maps_failed == 1)
    assert house.counted() == {'left': (1, 0), 'right': (1, 0)}
    assert house.pipeline.last_failure == 'no map today'
