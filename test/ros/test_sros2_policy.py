"""config/sros2/policy.xml allows what running nodes offer and ask for, and nothing else."""

from __future__ import annotations

import contextlib
from pathlib import Path
from xml.etree import ElementTree

import pytest
from helpers import synthetic
from helpers.process import ROOT
from helpers.ros_peer import image
from helpers.viewer import Browser
from helpers.viewer import View
from sensor_msgs.msg import Image
from sensor_msgs.msg import PointCloud2
from theia_msgs.msg import FeatureTensor

pytestmark = pytest.mark.needs_ros

POLICY = ROOT / 'config' / 'sros2' / 'policy.xml'
ENCLAVES = {e.get('path'): e for e in ElementTree.parse(POLICY).getroot().iter('enclave')}
CAMERA = '/camera/image_raw'


def allowed(enclave, kind, verb):
    """Return the full names that an enclave allows, as sros2 resolves them."""
    names = []
    for profile in ENCLAVES[enclave].iter('profile'):
        ns = profile.get('ns').rstrip('/')
        for group in profile.iter(f'{kind}s'):
            if group.get(verb) == 'ALLOW':
                for name in (element.text for element in group.iter(kind)):
                    own = f'{ns}/{profile.get("node")}'
                    names.append(name.replace('~', own, 1) if name.startswith('~') else name)
    assert len(names) == len(set(names))
    return set(names)


def wanted(enclave):
    """Return all that an enclave allows, by verb."""
    topics = {verb: allowed(enclave, 'topic', verb) for verb in ('publish', 'subscribe')}
    return topics | {verb: allowed(enclave, 'service', verb) for verb in ('reply', 'request')}


def found(peer, node):
    """Return the names of a node's publishers, subscriptions, services and clients, by verb."""
    if node not in peer.node.get_node_names():  # asking for its topics would be an error
        return None
    asks = {
        'publish': peer.node.get_publisher_names_and_types_by_node,
        'subscribe': peer.node.get_subscriber_names_and_types_by_node,
        'reply': peer.node.get_service_names_and_types_by_node,
        'request': peer.node.get_client_names_and_types_by_node,
    }
    return {verb: {name for name, _ in ask(node, '/')} for verb, ask in asks.items()}


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    """A model with everything that the catalogue knows of."""
    folder = synthetic.write_model(tmp_path_factory.mktemp('model') / 'all-heads')
    synthetic.write_statistics(folder)
    synthetic.write_decoder_parts(folder)
    return folder


@pytest.fixture
def parameters(model):
    """Of an encoder node that offers every output there is."""
    return {'backend': 'fake', 'model': model, 'autostart': True, 'synchronize': True}


def test_policy_is_what_the_node_offers_and_the_node_writes_only_its_log(
    peer, start, tmp_path, parameters, monkeypatch
):
    home = tmp_path / 'home'
    home.mkdir()
    monkeypatch.delenv('ROS_LOG_DIR')
    environment = {'HOME': str(home), 'THEIA_ROS_CACHE': str(home / 'cache')}
    node = start(parameters, environment=environment)
    features = peer.collect(FeatureTensor, '/theia/camera/features')
    camera = peer.publisher(Image, CAMERA, node)

    def offers():
        camera.publish(image())
        return features and found(peer, 'theia') == wanted('/theia')

    peer.until(offers, f'{wanted("/theia")}', node)
    assert node.stop() == 0

    written = [p.relative_to(home) for p in home.rglob('*') if p.is_file()]
    assert {p.parts[:2] for p in written} == {('.ros', 'log')}


def test_policy_is_what_the_view_of_everything_asks_for(peer, start, tmp_path, parameters):
    encoder = start(parameters)
    with View(tmp_path) as view, contextlib.closing(Browser(view.url)) as browser:
        peer.until(lambda: len(browser.panes('/theia')) == 5, 'every pane', encoder)
        browser.show(*browser.panes('/theia').values())

        name = f'theia_view_{view.process.pid}'
        peer.until(
            lambda: found(peer, name) == wanted('/theia_view'), f'{wanted("/theia_view")}', encoder
        )


def test_policy_is_what_the_cloud_of_depth_asks_for(peer, start, parameters):
    start(parameters)
    cloud = start({}, command=('-m', 'theia_ros.nodes.depth_cloud'))
    peer.collect(PointCloud2, '/theia_cloud/camera/points')

    peer.until(
        lambda: found(peer, 'theia_cloud') == wanted('/theia_cloud'),
        f'{wanted("/theia_cloud")}',
        cloud,
    )


@pytest.mark.parametrize('enclave', sorted(ENCLAVES.keys() - {'/theia'}))
def test_who_listens_hears_only_what_the_encoder_has_and_asks_for_no_service(enclave):
    heard = allowed(enclave, 'topic', 'subscribe')
    assert '/theia/info' in heard
    encoder = allowed('/theia', 'topic', 'publish')
    # People may see what the camera sees; a policy needs no pictures.
    assert heard - encoder == ({CAMERA} if enclave == '/theia_view' else set())
    assert not allowed(enclave, 'service', 'request')


def test_who_listens_says_nothing_of_its_own_but_a_cloud():
    said = {e: allowed(e, 'topic', 'publish') for e in ENCLAVES if e != '/theia'}
    assert said == {
        '/policy': {'/parameter_events', '/rosout'},
        '/theia_view': {'/parameter_events'},
        '/theia_cloud': {'/parameter_events', '/rosout', '/theia_cloud/camera/points'},
    }


def test_nothing_is_allowed_by_a_pattern():
    text = Path(POLICY).read_text()
    assert '*' not in text
    assert '?' not in text.partition('?>')[2]
    assert 'DENY' not in text  # what is not named is denied


def test_form_is_that_of_sros2():
    root = ElementTree.parse(POLICY).getroot()
    assert (root.tag, root.get('version')) == ('policy', '0.2.0')
    assert [child.tag for child in root] == ['enclaves']
    for enclave in ENCLAVES.values():
        assert [child.tag for child in enclave] == ['profiles']
        for profile in enclave.iter('profile'):
            assert set(profile.keys()) == {'ns', 'node'}
            assert {child.tag for child in profile} <= {'topics', 'services'}
            for group in profile:
                assert len(group.attrib) == 1
                assert {child.tag for child in group} == {group.tag.removesuffix('s')}
