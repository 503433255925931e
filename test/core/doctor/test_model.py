"""Real files in the cache, as a fetch leaves them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from core.doctor.conftest import failed
from helpers.hub_server import weights

from theia_ros.catalog import cache_folder
from theia_ros.catalog import find_model
from theia_ros.cli import main
from theia_ros.doctor import model
from theia_ros.doctor.finding import Level

NAME, TINY = 'theia-tiny-patch16-224-cdiv', 'demo-tiny'


@pytest.fixture
def fetched(hub, capsys) -> Path:
    """A small model that was fetched, without what its maps need."""
    hub.add(f'theaiinstitute/{NAME}', 'config.json', b'{}', large=False)
    hub.add(f'theaiinstitute/{NAME}', 'model.safetensors', weights())
    assert main(['fetch', NAME, '--accept-licence', '--no-decoders']) == 0
    capsys.readouterr()
    return cache_folder() / 'models' / NAME


def files(facts, name: str = NAME, **given: str):
    (finding,) = model.files(facts(given={'model': name, **given}))
    return finding


def test_a_model_that_is_whole(facts, fetched: Path) -> None:
    finding = files(facts)
    assert finding.level is Level.OK
    assert finding.found == f'{NAME} in {fetched}, checksums are right'


def test_one_changed_byte_is_found(facts, fetched: Path) -> None:
    path = fetched / 'model.safetensors'
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    finding = files(facts)
    assert (finding.level, finding.found) == (Level.ERROR, str(path))
    assert finding.wrong.startswith(f'damaged: {path}: expected sha256 ')
    assert finding.cures == (f'theia-ros fetch {NAME} --force --accept-licence',)


def test_a_file_that_is_cut_off(facts, fetched: Path) -> None:
    path = fetched / 'model.safetensors'
    path.write_bytes(path.read_bytes()[:-5])
    assert 'bytes, found' in files(facts).wrong


def test_a_missing_configuration(facts, fetched: Path) -> None:
    (fetched / 'config.json').unlink()
    finding = files(facts)
    assert (finding.level, finding.wrong) == (Level.ERROR, 'it is missing')
    assert finding.found == str(fetched / 'config.json')


def test_a_model_from_elsewhere_has_no_checksum(facts, fetched: Path) -> None:
    (fetched / 'SOURCE.json').unlink()
    finding = files(facts)
    assert finding.level in (Level.WARNING, Level.ERROR)
    assert finding.cures == (f'theia-ros fetch {NAME} --force --accept-licence',)


def test_a_model_that_was_not_fetched(facts) -> None:
    finding = files(facts)
    assert finding.level is Level.ERROR
    assert finding.cures == (f'theia-ros fetch {NAME} --accept-licence',)
    finding = files(facts, 'demo-dinov2-small')
    assert finding.cures == ('theia-ros fetch demo-dinov2-small',)


def test_a_model_that_nobody_knows(facts) -> None:
    finding = files(facts, 'theia-huge')
    assert finding.level is Level.ERROR
    assert finding.wrong.startswith(
        "unknown model 'theia-huge': it is neither a folder nor one of"
    )
    assert finding.cures == ('theia-ros models',)


def test_a_folder_of_the_users_own(facts, tmp_path: Path) -> None:
    finding = files(facts, str(tmp_path))
    assert finding.level is Level.OK
    assert finding.found.startswith(f'{tmp_path}, a folder of yours')
    (finding,) = model.licence(facts(given={'model': str(tmp_path)}))
    assert finding.found == 'of your own weights: not known here'


def test_the_fake_needs_no_files(facts) -> None:
    assert files(facts, backend='fake').level is Level.OK
    assert list(model.load(facts(given={'model': NAME, 'backend': 'fake'}))) == []


def test_the_licence_is_shown_with_who_accepted_it(facts, fetched: Path) -> None:
    (finding,) = model.licence(facts(given={'model': NAME}))
    assert finding.found == (
        'The AI Institute, non-commercial research only, accepted when it was fetched'
    )
    records = json.loads((fetched / 'SOURCE.json').read_text())
    records['files']['model.safetensors']['licence_accepted'] = False
    (fetched / 'SOURCE.json').write_text(json.dumps(records))
    (finding,) = model.licence(facts(given={'model': NAME}))
    assert finding.found == 'The AI Institute, non-commercial research only'


def test_a_model_that_is_shipped(facts) -> None:
    finding = files(facts, TINY)
    assert finding.level is Level.OK
    assert finding.found == f'{TINY} in {find_model(TINY)}, checksums are right'
    assert list(model.parts(facts(given={'model': TINY}))) == []
    (finding,) = model.licence(facts(given={'model': TINY}))
    assert finding.found == 'Apache-2.0'


def test_damage_of_a_model_that_is_shipped(facts, damaged_tiny: Path) -> None:
    finding = files(facts, TINY)
    assert (finding.level, finding.found) == (Level.ERROR, str(damaged_tiny))
    assert finding.cures == ('install theia_ros again, from a whole copy',)
    (finding,) = model.load(facts({'model': failed('wrong')}, given={'model': TINY}))
    assert finding.cures == ('install theia_ros again, from a whole copy', 'see models/README.md')
    damaged_tiny.unlink()
    finding = files(facts, TINY)
    assert f'this copy has no {damaged_tiny}' in finding.wrong
    assert finding.cures == ('install theia_ros again, from a whole copy',)


def test_what_maps_need_is_missing(facts, fetched: Path) -> None:
    (finding,) = model.parts(facts(given={'model': NAME}))
    assert finding.level is Level.WARNING
    assert finding.found.startswith('6 files are missing, such as imagenet_mean_')
    assert finding.cures == (f'theia-ros fetch {NAME} --accept-licence',)


def test_a_part_that_is_damaged(facts, fetched: Path) -> None:
    part = cache_folder() / 'statistics' / 'imagenet_mean_facebook_dinov2-large.npy'
    part.parent.mkdir()
    part.write_bytes(b'no array')
    (finding,) = model.parts(facts(given={'model': NAME}))
    assert (finding.level, finding.found) == (Level.ERROR, str(part))
    assert finding.wrong.startswith('damaged: ')


def test_loading_strictly(facts, fetched: Path) -> None:
    given = {'model': NAME}
    answer = {'tensors': 9, 'numbers': 1_500_000, 'teachers': ['vit'], 'maps': ['dinov2/image']}
    (finding,) = model.load(facts({'model': answer}, given=given))
    assert finding.found == '9 tensors, 1.5 M numbers; heads: vit; maps: dinov2/image'
    wrong = 'model.safetensors does not fit its config.json: 4 tensors expected, 1 missing'
    (finding,) = model.load(facts({'model': failed(wrong)}, given=given))
    assert (finding.level, finding.wrong) == (Level.ERROR, wrong)
    assert finding.cures[0] == f'theia-ros fetch {NAME} --force --accept-licence'
