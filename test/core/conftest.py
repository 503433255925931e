"""What tests of rings 0 and 1 share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from helpers import cuda_on_host
from helpers import synthetic
from helpers.hub_server import Hub

from theia_ros import catalog
from theia_ros.hub import patience

_STRIPPED = ('HF_TOKEN', 'HF_TOKEN_PATH', 'HUGGING_FACE_HUB_TOKEN', 'HF_HUB_OFFLINE')


@pytest.fixture(autouse=True)
def clean_environ(monkeypatch, tmp_path):
    """Without proxies and tokens, and with a cache of the test's own."""
    for name in ('http_proxy', 'https_proxy', 'all_proxy', 'no_proxy'):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in _STRIPPED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('HF_HOME', str(tmp_path / 'hf'))
    monkeypatch.setenv('THEIA_ROS_CACHE', str(tmp_path / 'cache'))


@pytest.fixture
def hub(monkeypatch):
    """A server that is asked instead of the hub and of GitHub; nobody waits between tries."""
    monkeypatch.setattr(patience, 'PAUSES_S', (0.0, 0.0, 0.0, 0.0))
    with Hub() as hub:
        monkeypatch.setenv('HF_ENDPOINT', hub.url)
        monkeypatch.setenv('THEIA_ROS_GITHUB', hub.url)
        yield hub


@pytest.fixture(scope='session')
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with all five heads, parameters by the rule of the goldens."""
    return synthetic.write_model(tmp_path_factory.mktemp('tiny'))


@pytest.fixture
def damaged_tiny(monkeypatch, tmp_path):
    """Weights of the shipped model in a copy of the package, with one byte of them changed."""
    folder = Path(shutil.copytree(catalog.find_model('demo-tiny'), tmp_path / 'demo-tiny'))
    path = folder / 'model.safetensors'
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    monkeypatch.setattr(catalog, '_shipped_folders', lambda name: [folder])
    return path


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.inference_mode():
        yield


@pytest.fixture
def graphs(monkeypatch):
    """Graphs that are recorded while the host passes for a CUDA device."""
    return cuda_on_host.pretend(monkeypatch)
