import hashlib
import json
import math
import os
import re
from pathlib import Path

import pytest
from safetensors import safe_open

from theia_ros import catalog
from theia_ros.demo import model as demo_model
from theia_ros.errors import ParameterError
from theia_ros.errors import WeightsError

TINY = 'demo-tiny'
OFFICIAL = [name for name in catalog.MODELS if name.startswith('theia-')]


def test_six_official_models_and_two_for_the_demo():
    assert len(OFFICIAL) == 6
    assert set(catalog.MODELS) - set(OFFICIAL) == {demo_model.NAME, TINY}


@pytest.mark.parametrize('name', OFFICIAL)
def test_official_models_come_from_their_institute(name):
    model = catalog.MODELS[name]
    assert model.source == f'theaiinstitute/{name}'
    assert model.licence == catalog.THEIA_LICENCE.name
    assert name == f'theia-{model.student}-patch16-224-' + (
        'cddsv' if 'sam' in model.teachers else 'cdiv'
    )


@pytest.mark.parametrize(
    ('name', 'megabytes'),
    [
        ('theia-tiny-patch16-224-cdiv', 40.2),
        ('theia-small-patch16-224-cdiv', 147),
        ('theia-base-patch16-224-cdiv', 559),
        ('theia-tiny-patch16-224-cddsv', 64.7),
        ('theia-small-patch16-224-cddsv', 212),
        ('theia-base-patch16-224-cddsv', 752),
        ('demo-dinov2-small', 86.7),
        ('demo-tiny', 19.2),
    ],
)
def test_sizes_are_the_published_ones(name, megabytes):
    model, bytes_each = catalog.MODELS[name], 2 if name == TINY else 4
    assert model.size_mb == pytest.approx(megabytes, rel=3e-3)
    assert model.size_mb == pytest.approx(bytes_each * model.parameters / 1e6, rel=3e-3)


def test_checksums_are_checksums():
    known = [model.sha256 for model in catalog.MODELS.values() if model.sha256]
    assert len(known) == len(set(known)) == 6
    assert all(re.fullmatch('[0-9a-f]{64}', sha256) for sha256 in known)
    assert catalog.MODELS[demo_model.NAME].sha256 == demo_model.WEIGHTS_SHA256


def test_only_the_licence_that_forbids_must_be_accepted():
    assert catalog.THEIA_LICENCE.must_accept
    assert 'non-commercial research only' in catalog.THEIA_LICENCE.terms
    assert not catalog.APACHE.must_accept


def test_students_have_heads_of_64_channels():
    assert all(student.width == 64 * student.heads for student in catalog.STUDENTS.values())


class TestCache:
    def test_it_is_where_the_user_says(self, monkeypatch, tmp_path):
        monkeypatch.setenv('THEIA_ROS_CACHE', '~/mine')
        monkeypatch.setenv('HOME', str(tmp_path))
        assert catalog.cache_folder() == tmp_path / 'mine'

    def test_it_is_in_the_users_cache_otherwise(self, monkeypatch, tmp_path):
        monkeypatch.delenv('THEIA_ROS_CACHE', raising=False)
        monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
        assert catalog.cache_folder() == tmp_path / 'theia_ros'
        monkeypatch.delenv('XDG_CACHE_HOME')
        monkeypatch.setenv('HOME', str(tmp_path))
        assert catalog.cache_folder() == tmp_path / '.cache' / 'theia_ros'

    @pytest.mark.parametrize('variable', ['THEIA_ROS_CACHE', 'XDG_CACHE_HOME'])
    def test_a_home_that_nobody_has_is_the_users_mistake(self, variable, monkeypatch):
        monkeypatch.delenv('THEIA_ROS_CACHE', raising=False)
        monkeypatch.setenv(variable, '~nobody-by-this-name/mine')
        with pytest.raises(ParameterError, match=r'^~nobody-by-this-name/mine: '):
            catalog.cache_folder()


class TestShippedModel:
    @pytest.fixture
    def installed(self, monkeypatch, tmp_path):
        """A package without the repository around it, on no path of ROS, in an empty prefix."""
        package = tmp_path / 'site-packages' / 'theia_ros'
        monkeypatch.setattr(catalog, '__file__', str(package / 'catalog.py'))
        monkeypatch.setattr(catalog.sys, 'prefix', str(tmp_path / 'prefix'))
        monkeypatch.delenv('AMENT_PREFIX_PATH', raising=False)
        return package

    def test_it_is_in_the_repository_and_needs_no_cache(self):
        folder = catalog.find_model(TINY)
        assert folder == Path(__file__).parents[2] / 'models' / TINY
        assert not catalog.cache_folder().exists()

    def test_the_catalogue_has_its_size_and_checksum(self):
        model, path = catalog.MODELS[TINY], catalog.find_model(TINY) / 'model.safetensors'
        content = path.read_bytes()
        assert len(content) == model.size
        assert hashlib.sha256(content).hexdigest() == model.sha256
        with safe_open(path, 'np') as file:
            shapes = [file.get_slice(key).get_shape() for key in file.keys()]  # noqa: SIM118
        assert sum(math.prod(shape) for shape in shapes) == model.parameters
        config = json.loads((path.parent / 'config.json').read_text())
        keys = [catalog.TARGETS[teacher].key for teacher in model.teachers]
        assert sorted(config['target_feature_sizes']) == sorted(keys)
        assert model.student in config['backbone']
        assert model.licence == config['license'] == 'Apache-2.0'

    @pytest.mark.parametrize('where', ['wheel', 'workspace', 'prefix'])
    def test_it_is_found_where_it_was_installed(self, where, installed, monkeypatch, tmp_path):
        workspace = tmp_path / 'install' / 'theia_ros'
        monkeypatch.setenv('AMENT_PREFIX_PATH', f'/opt/ros/none{os.pathsep}{workspace}')
        root = {
            'wheel': installed,
            'workspace': workspace / 'share' / 'theia_ros',
            'prefix': tmp_path / 'prefix' / 'share' / 'theia_ros',
        }[where]
        folder = root / 'models' / TINY
        folder.mkdir(parents=True)
        (folder / 'model.safetensors').touch()
        assert catalog.find_model(TINY) == catalog.model_folder(TINY) == folder

    def test_a_copy_without_it_is_told_and_not_sent_to_fetch(self, installed):
        with pytest.raises(
            WeightsError, match=r'comes with theia_ros, but .* whole copy'
        ) as caught:
            catalog.find_model(TINY)
        assert str(installed.parent / 'models' / TINY) in str(caught.value)
        assert 'theia-ros fetch' not in str(caught.value)
        assert '\n' not in str(caught.value)


class TestFindModel:
    def test_name_is_in_the_cache(self):
        folder = catalog.cache_folder() / 'models' / OFFICIAL[0]
        folder.mkdir(parents=True)
        (folder / 'model.safetensors').touch()
        assert catalog.find_model(OFFICIAL[0]) == folder

    def test_folder_is_itself(self, tmp_path):
        assert catalog.find_model(str(tmp_path)) == tmp_path

    def test_missing_model_says_how_to_get_it(self):
        with pytest.raises(WeightsError, match=f'run: theia-ros fetch {OFFICIAL[0]}'):
            catalog.find_model(OFFICIAL[0])

    @pytest.mark.parametrize('name', ['', 'theia-huge', '/nowhere'])
    def test_unknown_model_is_told_with_the_known_ones(self, name):
        with pytest.raises(ParameterError, match=f"unknown model '{name}'.*{OFFICIAL[0]}"):
            catalog.find_model(name)
