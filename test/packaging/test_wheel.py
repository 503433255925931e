"""What pip installs from a wheel, which has no checkout around it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from theia_ros.catalog import MODELS
from theia_ros.resize import Compiled
from theia_ros.resize import fastest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.packaging


def make_wheel(folder: Path, **variables: str) -> Path:
    """Let pip make a wheel of what a checkout holds."""
    copy = folder / 'project'
    copy.mkdir()
    for name in ('setup.py', 'setup.cfg', 'pyproject.toml', 'package.xml', 'LICENSE'):
        shutil.copy(ROOT / name, copy)
    unwanted = shutil.ignore_patterns('__pycache__', '*.so')
    for name in ('theia_ros', 'msg', 'models'):
        shutil.copytree(ROOT / name, copy / name, ignore=unwanted)
    options = ('--no-deps', '--no-build-isolation', '--wheel-dir', str(folder), str(copy))
    command = [sys.executable, '-m', 'pip', 'wheel', *options]
    subprocess.run(command, check=True, cwd=folder, env={**os.environ, **variables})
    (wheel,) = folder.glob('theia_ros-*.whl')
    return wheel


def test_without_a_compiler_there_is_a_wheel_all_the_same(tmp_path: Path) -> None:
    with zipfile.ZipFile(make_wheel(tmp_path, CC='false')) as files:
        names = files.namelist()
    assert 'theia_ros/resize.py' in names
    assert 'theia_ros/_resize.so' not in names


def test_all_that_a_checkout_has_is_in_the_wheel(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path)
    with zipfile.ZipFile(wheel) as files:
        files.extract('theia_ros/_resize.so', tmp_path)
        names = [name for name in files.namelist() if name.startswith('theia_ros/msg/')]
        found = {Path(name).name: files.read(name) for name in names}
        models = {name for name in files.namelist() if name.startswith('theia_ros/models/')}
        weights = files.read('theia_ros/models/demo-tiny/model.safetensors')
    assert hashlib.sha256(weights).hexdigest() == MODELS['demo-tiny'].sha256
    model = [path for path in (ROOT / 'models' / 'demo-tiny').rglob('*') if path.is_file()]
    assert models == {f'theia_ros/{path.relative_to(ROOT)}' for path in model}
    assert found == {path.name: path.read_bytes() for path in (ROOT / 'msg').glob('*.msg')}
    assert 'FeatureTensor.msg' in found
    by, why = fastest(tmp_path / 'theia_ros' / '_resize.so')
    assert (type(by), why) == (Compiled, '')
