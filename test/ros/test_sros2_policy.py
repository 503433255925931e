"""config/sros2/policy.xml allows what a running node offers, and nothing else."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from helpers import synthetic
from helpers.ros_peer import image
from helpers.ros_peer import NodeProcess
from helpers.ros_peer import Peer
from helpers.ros_peer import ROOT
from sensor_msgs.msg import Image
from theia_msgs.msg import FeatureTensor

pytestmark = pytest.mark.needs_ros

POLICY = ROOT / 'config' / 'sros2' / 'policy.xml'
ENCLAVES = {e.get('path'): e for e in ElementTree.parse(POLICY).getroot().iter('enclave')}


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


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    """A model with everything that the catalogue knows of."""
    folder = synthetic.write_model(tmp_path_factory.mktemp('model') / 'all-heads')
    synthetic.write_statistics(folder)
    synthetic.write_decoder_parts(folder)
    return folder


def test_policy_is_what_the_node_offers_and_the_node_writes_only_its_log(
    domain, tmp_path, model, monkeypatch
):
    parameters = {'backend': 'fake', 'model': str(model), 'autostart': True, 'synchronize': True}
    home = tmp_path / 'home'
    home.mkdir()
    monkeypatch.delenv('ROS_LOG_DIR')
    environment = {'HOME': str(home), 'THEIA_ROS_CACHE': str(home / 'cache')}
    with (
        NodeProcess(tmp_path, parameters, environment=environment) as node,
        Peer(domain) as peer,
    ):
        features = peer.collect(FeatureTensor, '/theia/camera/features')
        camera = peer.publisher(Image, '/camera/image_raw', node)
        graph = peer.node

        def offered():
            return {
                'publish': graph.get_publisher_names_and_types_by_node('theia', '/'),
                'subscribe': graph.get_subscriber_names_and_types_by_node('theia', '/'),
                'reply': graph.get_service_names_and_types_by_node('theia', '/'),
                'request': graph.get_client_names_and_types_by_node('theia', '/'),
            }

        wanted = {
            'publish': allowed('/theia', 'topic', 'publish'),
            'subscribe': allowed('/theia', 'topic', 'subscribe'),
            'reply': allowed('/theia', 'service', 'reply'),
            'request': set(),
        }

        def found():
            camera.publish(image())
            return {verb: {name for name, _ in names} for verb, names in offered().items()}

        # Before its name is known, asking for its topics is an error.
        peer.until(lambda: 'theia' in graph.get_node_names(), 'the node', node)
        peer.until(lambda: features and found() == wanted, f'{wanted}, not {found()}', node)
        assert node.stop() == 0

    written = [p.relative_to(home) for p in home.rglob('*') if p.is_file()]
    assert {p.parts[:2] for p in written} == {('.ros', 'log')}


def test_example_policy_node_hears_only_what_the_encoder_offers():
    heard = allowed('/policy', 'topic', 'subscribe')
    assert heard
    assert heard <= allowed('/theia', 'topic', 'publish')
    assert allowed('/policy', 'topic', 'publish') == {'/parameter_events', '/rosout'}
    assert not allowed('/policy', 'service', 'request')


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
            assert {child.tag for child in profile} == {'topics', 'services'}
            for group in profile:
                assert len(group.attrib) == 1
                assert {child.tag for child in group} == {group.tag.removesuffix('s')}
