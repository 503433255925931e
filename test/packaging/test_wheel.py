"""What pip installs from a wheel, which has no checkout around it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from theia_ros.catalog import MODELS

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.packaging


def test_messages_and_the_shipped_model_are_in_the_wheel(tmp_path: Path) -> None:
    copy = tmp_path / 'project'
    copy.mkdir()
    for name in ('setup.py', 'setup.cfg', 'pyproject.toml', 'package.xml', 'LICENSE'):
        shutil.copy(ROOT / name, copy)
    for name in ('theia_ros', 'msg', 'models'):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns('__pycache__'))
    options = ('--no-deps', '--no-build-isolation', '--wheel-dir', str(tmp_path), str(copy))
    subprocess.run([sys.executable, '-m', 'pip', 'wheel', *options], check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob('theia_ros-*.whl')
    with zipfile.ZipFile(wheel) as files:
        names = [name for name in files.namelist() if name.startswith('theia_ros/msg/')]
        found = {Path(name).name: files.read(name) for name in names}
        models = {name for name in files.namelist() if name.startswith('theia_ros/models/')}
        weights = files.read('theia_ros/models/demo-tiny/model.safetensors')
    assert hashlib.sha256(weights).hexdigest() == MODELS['demo-tiny'].sha256
    model = [path for path in (ROOT / 'models' / 'demo-tiny').rglob('*') if path.is_file()]
    assert models == {f'theia_ros/{path.relative_to(ROOT)}' for path in model}
    assert found == {path.name: path.read_bytes() for path in (ROOT / 'msg').glob('*.msg')}
    assert 'FeatureTensor.msg' in found
