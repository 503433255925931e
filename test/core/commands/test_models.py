from pathlib import Path

import pytest
from helpers.hub_server import weights

from theia_ros.catalog import cache_folder
from theia_ros.catalog import MODELS
from theia_ros.cli import main
from theia_ros.commands import models

NAME, TINY = 'theia-tiny-patch16-224-cdiv', 'demo-tiny'
README = Path(__file__).parents[3] / 'models' / 'README.md'


@pytest.fixture
def fetched(hub):
    """A small model that was fetched."""
    hub.add(f'theaiinstitute/{NAME}', 'config.json', b'{}', large=False)
    hub.add(f'theaiinstitute/{NAME}', 'model.safetensors', weights())
    assert main(['fetch', NAME, '--accept-licence', '--no-decoders']) == 0
    return cache_folder() / 'models' / NAME


@pytest.fixture
def listing(capsys):
    """Runs the command; gives its status and its lines."""

    def run(*arguments):
        capsys.readouterr()
        status = main(['models', *arguments])
        return status, capsys.readouterr().out.splitlines()

    return run


def row(lines, name):
    """Return the cells of a line, which are two spaces apart or more."""
    (line,) = (line for line in lines if line.startswith(f'{name} '))
    return [cell.strip() for cell in line.split('  ') if cell.strip()]


def test_each_model_has_a_row(listing):
    status, lines = listing()
    assert status == 0
    for name, model in MODELS.items():
        assert row(lines, name)[3] == ('yes' if model.shipped else 'no')
    assert row(lines, 'theia-base-patch16-224-cddsv') == [
        'theia-base-patch16-224-cddsv',
        '188.1 M',
        '752.3 MB',
        'no',
        'vit, dinov2, clip, sam, depth_anything',
        'The AI Institute, non-commercial research only',
    ]
    assert row(lines, 'demo-dinov2-small')[4] == 'none: backbone only'
    assert lines[-1] == f'cache: {cache_folder()}'


def test_parts_for_decoding_are_listed(listing):
    _, lines = listing()
    assert row(lines, 'sam') == ['sam', 'no', 'no']
    assert row(lines, 'clip') == ['clip', 'needs none', 'no']


def test_fetched_model_is_here(fetched, listing):
    assert row(listing()[1], NAME)[3] == 'yes'
    assert row(listing('--verify')[1], NAME)[3] == 'intact'


def test_shortened_file_is_seen_at_once(fetched, listing):
    path = fetched / 'model.safetensors'
    path.write_bytes(path.read_bytes()[:-1])
    status, lines = listing()
    assert status == 1
    assert row(lines, NAME)[3] == 'damaged'
    size = len(weights())
    assert lines[-1] == f'damaged: {path}: expected {size} bytes, found {size - 1}'


def test_altered_file_is_seen_with_verify(fetched, listing):
    path = fetched / 'config.json'
    path.write_text('[]')
    assert listing()[0] == 0
    status, lines = listing('--verify')
    assert status == 1
    assert lines[-1].startswith(f'damaged: {path}: expected sha256 44136fa355b3')


def test_unfinished_download_is_told(fetched, listing):
    path = fetched / 'model.safetensors'
    path.rename(fetched / 'model.safetensors.0123456789ab.part')
    assert row(listing()[1], NAME)[3] == '0.8 MB so far'


def test_files_from_elsewhere_are_told(listing):
    folder = cache_folder() / 'models' / NAME
    folder.mkdir(parents=True)
    for file in ('config.json', 'model.safetensors'):
        (folder / file).write_text('mine')
    assert row(listing()[1], NAME)[3] == 'unchecked'


def test_demo_model_is_compared_with_its_known_size(listing):
    path = cache_folder() / 'models' / 'demo-dinov2-small' / 'model.safetensors'
    path.parent.mkdir(parents=True)
    with path.open('wb') as file:
        file.truncate(86_687_576)
    assert row(listing()[1], 'demo-dinov2-small')[3] == 'yes'
    status, lines = listing('--verify')
    assert status == 1
    assert row(lines, 'demo-dinov2-small')[3] == 'damaged'


def test_model_that_is_shipped_is_here_and_is_verified(listing):
    assert row(listing('--verify')[1], TINY) == [
        TINY,
        '9.6 M',
        '19.2 MB',
        'intact',
        'dinov2_small, depth, classes',
        'Apache-2.0',
    ]


def test_damage_of_a_model_that_is_shipped_is_seen(listing, damaged_tiny):
    assert row(listing()[1], TINY)[3] == 'yes'
    status, lines = listing('--verify')
    assert status == 1
    assert row(lines, TINY)[3] == 'damaged'
    assert lines[-1].startswith(f'damaged: {damaged_tiny}: expected sha256 {MODELS[TINY].sha256}')


def test_readme_has_the_table_of_the_catalogue():
    assert models.markdown_table() in README.read_text(encoding='utf-8')
