"""The page of `theia-ros view` in a real browser, with a node that the peer plays."""

from __future__ import annotations

import os
import shutil
import signal

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from diagnostic_msgs.msg import KeyValue
from helpers.process import GENEROUS_S
from helpers.ros_peer import image
from helpers.ros_peer import LATCHED
from helpers.viewer import View
from sensor_msgs.msg import Image
from theia_msgs.msg import EncoderInfo
from theia_msgs.msg import TensorInfo

CHROMIUM = next(
    filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None
)
pytestmark = [
    pytest.mark.needs_ros,
    pytest.mark.skipif(not CHROMIUM, reason='needs a browser; apt install chromium'),
]

CAMERA, PCA = '/front/image_raw', '/theia/front/dinov2/image'
EVIL = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
RED_OF = """(title) => {
  const figure = [...document.querySelectorAll('figure')].find(
    (f) => f.querySelector('b').textContent === title);
  const from = figure.querySelector('canvas');
  const to = document.createElement('canvas');
  Object.assign(to, {width: from.width, height: from.height});
  const context = to.getContext('2d');
  context.drawImage(from, 0, 0);
  return [from.width, from.height, context.getImageData(3, 3, 1, 1).data[0]];
}"""


@pytest.fixture(scope='module')
def browser():
    """A browser without a window; nothing but this computer can be reached from it."""
    from playwright.sync_api import sync_playwright

    root = ['--no-sandbox'] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=root, timeout=0)
        yield browser
        browser.close()


class Encoder:
    """An encoder node with a camera, as far as the view can tell."""

    def __init__(self, peer):
        node = peer.node
        self.peer = peer
        self.level = DiagnosticStatus.OK
        self.info = EncoderInfo(
            model='theia-tiny',
            backend='torch',
            precision='fp32',
            device='cpu',
            digest='d' * 64,
            cameras=['front'],
            image_topics=[CAMERA],
            tensors=[TensorInfo(name='theia', shape=[196, 192], parity_cosine=0.999987)],
            versions=['torch=2'],
        )
        self.publishers = {
            topic: node.create_publisher(Image, topic, 5) for topic in (CAMERA, PCA)
        }
        self._told = node.create_publisher(EncoderInfo, '/theia/info', LATCHED)
        self._status = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self.tell()

    def tell(self):
        self._told.publish(self.info)

    def work(self):
        """Send a picture of each topic, and how it goes."""
        for level, publisher in zip((60, 200), self.publishers.values(), strict=True):
            publisher.publish(image(level=level))
        camera = DiagnosticStatus(
            name='theia: camera front',
            level=self.level,
            message='receiving',
            hardware_id='theia_ros',
            values=[KeyValue(key=k, value=v) for k, v in (('topic', CAMERA), ('received', '7'))],
        )
        engine = DiagnosticStatus(
            name='theia: engine', level=self.level, message='running', hardware_id='theia_ros'
        )
        self._status.publish(DiagnosticArray(status=[engine, camera]))
        self.peer.spin(0.05)

    def subscribers(self):
        return [self.peer.node.count_subscribers(topic) for topic in self.publishers]


@pytest.fixture
def encoder(peer):
    return Encoder(peer)


@pytest.fixture
def view(domain, tmp_path):
    with View(tmp_path) as view:
        yield view


@pytest.fixture
def page(browser, view):
    """The page, as somebody opens it; it may neither complain nor ask for anything else."""
    context = browser.new_context(viewport={'width': 1200, 'height': 900})
    context.set_default_timeout(GENEROUS_S * 1000)
    page, complaints, asked = context.new_page(), [], []
    page.on('console', lambda message: complaints.append(message.text))
    page.on('pageerror', lambda error: complaints.append(str(error)))
    page.on('request', lambda request: asked.append(request.url))
    page.goto(view.url)
    yield page
    context.close()
    # The browser itself says so while the view is away.
    assert [text for text in complaints if 'ERR_CONNECTION_REFUSED' not in text] == []
    assert {url.split('/')[2] for url in asked} == {view.url.split('/')[2]}


def until(encoder, condition, expected):
    """Let the encoder work until a condition holds."""

    def check():
        encoder.work()
        return condition()

    encoder.peer.until(check, expected)


def said(page):
    return page.inner_text('body')


def test_it_waits_for_a_node_and_then_shows_it(peer, view, page):
    page.wait_for_selector('#waiting:not([hidden])')
    assert f'ROS domain {os.environ["ROS_DOMAIN_ID"]}' in said(page)

    encoder = Encoder(peer)
    until(encoder, lambda: page.locator('figure').count() == 2, 'two panes')
    assert not page.locator('#waiting').is_visible()
    until(encoder, lambda: 'RECEIVING' in said(page).upper(), 'the status of the camera')
    text = said(page)
    for part in ('/theia', 'theia-tiny', 'torch', 'fp32', '0.999987', 'front', '7 received'):
        assert part in text, part


def test_pictures_are_drawn(encoder, page):
    def drawn():
        if page.locator('figure').count() < 2:
            return False
        return [page.evaluate(RED_OF, title) for title in ('Camera', 'PCA')]

    until(encoder, lambda: drawn() and drawn()[1][:2] == [64, 48], 'pictures')
    until(encoder, lambda: all(red for _, _, red in drawn()), 'both pictures')
    (width, height, camera), (_, _, pca) = drawn()
    assert (width, height) == (64, 48)
    assert abs(camera - 60) < 5
    assert abs(pca - 200) < 5
    until(encoder, lambda: 'Hz' in page.inner_text('figcaption >> nth=0'), 'the rate')


def test_hidden_maps_cost_nothing(encoder, page):
    until(encoder, lambda: encoder.subscribers() == [1, 1], 'subscribers of both')

    page.get_by_role('button', name='PCA', exact=True).click()
    until(encoder, lambda: encoder.subscribers() == [1, 0], 'none of the hidden map')
    assert page.locator('figure:visible').count() == 1
    page.locator('summary', has_text='front').click()
    until(encoder, lambda: encoder.subscribers() == [0, 0], 'none of a closed camera')
    page.locator('summary', has_text='front').click()
    page.reload()  # what is hidden stays hidden
    until(encoder, lambda: encoder.subscribers() == [1, 0], 'one again')
    page.get_by_role('button', name='PCA', exact=True).click()
    until(encoder, lambda: encoder.subscribers() == [1, 1], 'both again')


def test_what_is_out_of_sight_costs_nothing(encoder, page):
    until(encoder, lambda: encoder.subscribers() == [1, 1], 'subscribers of both')

    page.set_viewport_size({'width': 400, 'height': 120})
    until(encoder, lambda: encoder.subscribers() == [0, 0], 'none, far below')
    page.locator('figure >> nth=1').scroll_into_view_if_needed()
    until(encoder, lambda: encoder.subscribers()[1] == 1, 'the one in sight')


def test_closed_page_costs_nothing(encoder, page):
    until(encoder, lambda: encoder.subscribers() == [1, 1], 'subscribers of both')

    page.goto('about:blank')
    until(encoder, lambda: encoder.subscribers() == [0, 0], 'none')
    page.go_back()


def test_everything_can_be_done_with_the_keyboard(encoder, page):
    until(encoder, lambda: page.locator('figure').count() == 2, 'two panes')

    reached = set()
    for _ in range(12):
        page.keyboard.press('Tab')
        reached.add(page.evaluate('document.activeElement.textContent.trim().split(/\\s+/)[0]'))
    assert {'Camera', 'PCA', 'Theme:', 'Latency', 'Tensors', 'Provenance', 'front', 'Enlarge'} <= (
        reached
    )
    page.get_by_role('button', name='Camera', exact=True).focus()
    page.keyboard.press('Space')
    until(encoder, lambda: encoder.subscribers() == [0, 1], 'no subscriber of what was hidden')
    enlarge = page.get_by_role('button', name='Enlarge PCA of camera front')
    enlarge.focus()
    page.keyboard.press('Enter')
    assert page.locator('figure.enlarged').count() == 1


def test_colours_follow_the_system_and_the_button(encoder, page):
    def brightness():
        rgb = page.evaluate('getComputedStyle(document.body).backgroundColor')
        return np.mean([int(part) for part in rgb.strip('rgb()').split(',')])

    button = page.get_by_role('button', name='Theme')
    for scheme in ('light', 'dark'):
        page.emulate_media(color_scheme=scheme)
        assert (brightness() > 128) == (scheme == 'light')
        button.click()
        assert brightness() > 128  # light
        button.click()
        assert brightness() < 128  # dark
        button.click()
        assert (brightness() > 128) == (scheme == 'light')


def test_nothing_runs_out_of_the_window(encoder, page):
    encoder.info.model = 'a' * 300
    encoder.tell()
    until(encoder, lambda: 'a' * 300 in said(page), 'the long name')
    for width in (360, 800, 1600):
        page.set_viewport_size({'width': width, 'height': 900})
        assert page.evaluate('document.documentElement.scrollWidth') <= width


def test_what_a_robot_says_is_text(encoder, page):
    title = page.title()
    encoder.info = EncoderInfo(
        model=EVIL,
        backend=EVIL,
        device=EVIL,
        versions=[EVIL],
        cameras=['front', EVIL],
        image_topics=[CAMERA, CAMERA],
        tensors=[TensorInfo(name=EVIL)],
    )
    encoder.tell()

    until(encoder, lambda: EVIL in said(page), 'the name of a camera, as it is')
    for summary in page.locator('.more summary').all():
        summary.click()
    # Two facts, a camera, a tensor, and the model and the versions of the provenance.
    until(encoder, lambda: said(page).count(EVIL) >= 6, 'all of it as it is')
    assert page.title() == title
    assert page.locator('main img, main script').count() == 0


def test_node_that_is_away_is_told_and_so_is_its_return(encoder, page, peer):
    until(encoder, lambda: page.locator('.head .level.ok').count(), 'a node that works')
    until(encoder, lambda: said(page).count('Hz') == 2, 'pictures')

    peer.until(lambda: 'AWAY' in said(page), 'that the node is away')
    peer.until(lambda: 'no new picture for' in said(page), 'that pictures are old')
    until(encoder, lambda: page.locator('.head .level.ok').count(), 'its return')
    until(encoder, lambda: 'no new picture for' not in said(page), 'new pictures')


def test_page_outlives_the_view(encoder, page, view, tmp_path):
    until(encoder, lambda: encoder.subscribers() == [1, 1], 'subscribers of both')
    port = int(view.url.rstrip('/').rpartition(':')[2])
    view.stop(signal.SIGTERM)
    until(encoder, lambda: 'the view has ended; trying again' in said(page), 'its end')

    with View(tmp_path, port=port):
        until(encoder, lambda: encoder.subscribers() == [1, 1], 'subscribers again')
        assert page.inner_text('#connection') == 'live'
