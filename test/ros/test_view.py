"""`theia-ros view` as a user starts it, on a real graph with a real node and the fake engine."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket

import numpy as np
import pytest
from helpers.ros_peer import FAKE
from helpers.ros_peer import image
from helpers.ros_peer import jpeg
from helpers.viewer import Browser
from helpers.viewer import View
from PIL import Image as Pillow
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image

pytestmark = pytest.mark.needs_ros

ONE = {**FAKE, 'autostart': True, 'cameras': ['front'], 'image_topics': ['/front/image_raw']}
CAMERA, PCA, NORM = '/front/image_raw', '/theia/front/dinov2/image', '/theia/front/features'


@pytest.fixture
def view(domain, tmp_path):
    """Start views that end with the test."""
    with contextlib.ExitStack() as stack:
        count = iter(range(100))

        def view(*arguments, **options):
            folder = tmp_path / f'view_{next(count)}'
            folder.mkdir()
            return stack.enter_context(View(folder, *arguments, **options))

        yield view


@pytest.fixture
def browse():
    """Open the page, without a screen."""
    with contextlib.ExitStack() as stack:

        def browse(view):
            browser = Browser(view.url)
            stack.callback(browser.close)
            return browser

        yield browse


def until_seen(peer, camera, browser, panes, expected, **options):
    """Send images until a new picture of each of these panes came."""
    before = {pane: len(browser.pictures.get(pane, ())) for pane in panes}

    def come():
        camera.publish(image(**options))
        peer.spin(0.05)
        return all(len(browser.pictures.get(pane, ())) > before[pane] for pane in panes)

    peer.until(come, expected)
    return [browser.pictures[pane][-1] for pane in panes]


def test_pictures_of_a_camera_and_its_maps_are_shown(peer, start, view, browse):
    node, page = start(ONE), view()
    browser = browse(page)
    camera = peer.publisher(Image, CAMERA, node)
    peer.until(lambda: NORM in browser.panes('/theia').values(), 'the panes', node)

    assert browser.panes('/theia') == {'Camera': CAMERA, 'PCA': PCA, 'Feature norm': NORM}
    browser.show(CAMERA, PCA, NORM)
    size = {'size_hw': (48, 64), 'level': 90}
    seen = until_seen(peer, camera, browser, [CAMERA, PCA, NORM], 'pictures', **size)

    for (head, data), type_ in zip(seen, ['jpeg', 'jpeg', 'png'], strict=True):
        assert head['type'] == f'image/{type_}'
        with Pillow.open(io.BytesIO(data)) as picture:
            assert list(picture.size) == head['size_wh']
    assert seen[0][0]['size_wh'] == [64, 48]
    with Pillow.open(io.BytesIO(seen[0][1])) as picture:
        np.testing.assert_allclose(np.asarray(picture), 90, atol=3)
    assert seen[2][0]['note'].startswith('norm ')
    assert seen[0][0]['age_ms'] is None  # a stamp of 1970 is no age


def test_node_tells_what_it_is(peer, start, view, browse):
    node = start(ONE)
    browser = browse(view())
    camera = peer.publisher(Image, CAMERA, node)

    def told():
        camera.publish(image())
        found = browser.nodes.get('/theia')
        return found and found['cameras'] and found['cameras'][0]['status'] and found

    peer.until(told, 'the state of the node and its camera', node)
    found = told()
    assert found['away_s'] is None
    assert found['status'][0] == 'ok'
    assert found['info']['model'] == FAKE['model']
    assert found['info']['backend'] == 'fake'
    assert found['info']['tensors'][0][0] == 'theia'
    assert all(len(tensor) == 4 for tensor in found['info']['tensors'])
    (front,) = found['cameras']
    assert front['name'] == 'front'
    assert front['status'] == ['ok', 'receiving']
    counters = dict(front['counters'])
    assert counters['received'] > 0
    assert counters['unwanted'] + counters['dropped'] == counters['received']
    assert browser.states[-1]['domain'] == int(os.environ['ROS_DOMAIN_ID'])


def test_only_what_is_shown_is_subscribed_to(peer, start, view, browse):
    node, page = start(ONE), view()
    first, second = browse(page), browse(page)
    peer.until(lambda: PCA in second.panes('/theia').values(), 'the panes', node)

    def subscribers():
        return {t: peer.node.count_subscribers(t) for t in (CAMERA, PCA, NORM)}

    def are(camera, pca, norm):
        # The encoder node itself listens to the camera.
        wanted = {CAMERA: camera + 1, PCA: pca, NORM: norm}
        peer.until(lambda: subscribers() == wanted, f'subscribers {wanted}', node)

    are(0, 0, 0)
    first.show(PCA)
    are(0, 1, 0)
    second.show(CAMERA, PCA)
    are(1, 1, 0)  # once for all browsers
    first.show()
    are(1, 1, 0)
    second.show(NORM, '/rosout', '/theia/front/clip/features')
    are(0, 0, 1)
    assert peer.node.count_subscribers('/theia/front/clip/features') == 0
    second.close()
    are(0, 0, 0)


@pytest.mark.parametrize(
    'number', [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)]
)
def test_encoder_may_end_and_be_started_again(peer, start, view, browse, number):
    node, page = start(ONE), view()
    browser = browse(page)
    camera = peer.publisher(Image, CAMERA, node)
    peer.until(lambda: PCA in browser.panes('/theia').values(), 'the panes', node)
    browser.show(PCA)
    until_seen(peer, camera, browser, [PCA], 'a map')

    node.process.send_signal(number)
    peer.until(lambda: browser.nodes['/theia']['away_s'], 'that the node is away')
    assert browser.panes('/theia')['PCA'] == PCA  # its place is kept
    page.wait_for('/theia: is away; waiting for it')

    again = start(ONE)
    until_seen(peer, camera, browser, [PCA], 'a map of the new node')
    peer.until(lambda: browser.nodes['/theia']['away_s'] is None, 'that the node is back', again)


def test_view_may_come_first(peer, start, view, browse):
    page = view()
    browser = browse(page)
    page.wait_for('no encoder node on ROS domain ')
    assert browser.nodes == {}

    node = start(ONE)
    peer.until(lambda: PCA in browser.panes('/theia').values(), 'the panes', node)
    page.wait_for(f'/theia: {FAKE["model"]}, cameras front')


def test_all_nodes_are_shown_or_the_one_that_is_asked_for(peer, start, view, browse):
    one = start(ONE, '-r', '__ns:=/robot1')
    two = start({**ONE, 'cameras': ['wrist']}, '-r', '__ns:=/robot2')
    every, single = browse(view()), browse(view('--node', '/robot2/theia'))

    peer.until(lambda: len(every.nodes) == 2, 'two nodes', one)
    peer.until(lambda: single.panes('/robot2/theia'), 'the panes', two)
    assert set(every.nodes) == {'/robot1/theia', '/robot2/theia'}
    assert set(single.nodes) == {'/robot2/theia'}
    assert [camera['name'] for camera in single.nodes['/robot2/theia']['cameras']] == ['wrist']


def test_compressed_images_are_shown_and_bad_ones_told(peer, start, view, browse):
    topic = '/front/image_raw/compressed'
    node, page = start({**ONE, 'image_topics': [topic]}), view()
    browser = browse(page)
    camera = peer.publisher(CompressedImage, topic, node)
    peer.until(lambda: topic in browser.panes('/theia').values(), 'the pane', node)
    browser.show(topic)
    file = io.BytesIO()
    Pillow.new('RGB', (64, 48), (0, 200, 0)).save(file, 'JPEG')

    def come():
        camera.publish(jpeg(file.getvalue()))
        peer.spin(0.05)
        return browser.pictures.get(topic)

    peer.until(come, 'the picture', node)
    assert browser.pictures[topic][-1][1] == file.getvalue()

    def refused():
        camera.publish(jpeg(b'<script>alert(1)</script>'))
        peer.spin(0.05)
        return 'error' in browser.pictures[topic][-1][0]

    peer.until(refused, 'an error', node)
    head, data = browser.pictures[topic][-1]
    assert 'expected JPEG or PNG' in head['error']
    assert data == b''


def test_rate_is_limited_and_told(peer, start, view, browse):
    node, page = start(ONE), view('--rate', '4')
    browser = browse(page)
    camera = peer.publisher(Image, CAMERA, node)
    peer.until(lambda: browser.panes('/theia'), 'the panes', node)
    browser.show(CAMERA)
    until_seen(peer, camera, browser, [CAMERA], 'the first picture')

    sent, before = 0, len(browser.pictures[CAMERA])
    while len(browser.pictures[CAMERA]) < before + 8:
        camera.publish(image())
        sent += 1
        peer.spin(0.02)
    assert sent > 16  # at most 4 of some 50 Hz
    assert browser.pictures[CAMERA][-1][0]['hz'] > 4


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_cleanly(peer, start, view, browse, number):
    node, page = start(ONE), view()
    browser = browse(page)
    camera = peer.publisher(Image, CAMERA, node)
    peer.until(lambda: browser.panes('/theia'), 'the panes', node)
    browser.show(CAMERA)
    until_seen(peer, camera, browser, [CAMERA], 'a picture')

    assert page.stop(number) == 0, page.said
    assert page.stderr == '', page.stderr
    peer.until(lambda: browser.ended, 'the end of the connection')
    peer.until(lambda: peer.node.count_subscribers(CAMERA) == 1, 'the encoder alone', node)


def test_port_in_use_is_one_line(view):
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        page = view(port=taken.getsockname()[1])

        assert page.process.wait(60) == 2
    (line,) = page.said.splitlines()
    assert line.startswith('theia-ros view: port ')
    assert 'choose another with --port' in line
