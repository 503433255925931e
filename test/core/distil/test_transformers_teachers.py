"""The wrappers around transformers, on small networks with random weights.

Their channels are those of the published teachers and everything else is small. Each is compared
with the library's own processor and its own output, taken another way than by the wrapper.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import synthetic

from theia_ros.catalog import TEACHERS
from theia_ros.distil.data import Pictures
from theia_ros.distil.transformers_teachers import TransformersTeacher
from theia_ros.distil.transformers_teachers import VIEWS
from theia_ros.errors import ParameterError
from theia_ros.errors import WeightsError

transformers = pytest.importorskip('transformers')
CPU = torch.device('cpu')
PIXELS = np.stack([synthetic.golden_rule.image(n) for n in ('gradient_224', 'noise_224')])

pytestmark = pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::FutureWarning')


def _imagenet():
    return {'image_mean': [0.485, 0.456, 0.406], 'image_std': [0.229, 0.224, 0.225]}


def processor(name: str):
    """Return the processor that the published teacher comes with."""
    if name == 'vit':
        half = [0.5, 0.5, 0.5]
        return transformers.ViTImageProcessor(
            size={'height': 224, 'width': 224}, resample=2, image_mean=half, image_std=half
        )
    if name == 'dinov2':
        return transformers.BitImageProcessor(
            size={'shortest_edge': 256},
            crop_size={'height': 224, 'width': 224},
            resample=3,
            do_convert_rgb=True,
            **_imagenet(),
        )
    if name == 'clip':
        return transformers.CLIPImageProcessor()
    if name == 'sam':
        return transformers.SamImageProcessor()
    return transformers.DPTImageProcessor(
        size={'height': 518, 'width': 518},
        ensure_multiple_of=14,
        keep_aspect_ratio=True,
        resample=3,
        do_pad=False,
        size_divisor=None,
        **_imagenet(),
    )


def network(name: str):
    """Return a small network of the teacher's kind, whose numbers do not die out on the way."""
    model = _small(name)
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return model


def _small(name: str):
    small = {'num_hidden_layers': 1, 'patch_size': 14}
    if name == 'vit':
        config = transformers.ViTConfig(
            hidden_size=1280, num_attention_heads=16, intermediate_size=32, **small
        )
        return transformers.ViTModel(config, add_pooling_layer=False)
    if name == 'dinov2':
        config = transformers.Dinov2Config(
            hidden_size=1024, num_attention_heads=16, mlp_ratio=1, image_size=518, **small
        )
        return transformers.Dinov2Model(config)
    if name == 'clip':
        config = transformers.CLIPVisionConfig(
            hidden_size=1024, num_attention_heads=16, intermediate_size=32, **small
        )
        return transformers.CLIPVisionModel(config)
    if name == 'sam':
        vision = transformers.SamVisionConfig(
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=1,
            mlp_dim=32,
            global_attn_indexes=[],
        )
        return transformers.SamModel(transformers.SamConfig(vision_config=vision))
    backbone = transformers.Dinov2Config(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        mlp_ratio=1,
        patch_size=14,
        image_size=518,
        out_features=[f'stage{i}' for i in range(1, 5)],
        reshape_hidden_states=False,
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=14,
        reassemble_hidden_size=32,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        head_hidden_size=32,
    )
    return transformers.DepthAnythingForDepthEstimation(config)


@pytest.fixture(scope='module')
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The small networks, stored as the published ones are."""
    root = tmp_path_factory.mktemp('teachers')
    for name in TEACHERS:
        network(name).save_pretrained(root / name)
    return {name: root / name for name in TEACHERS}


def expected_tokens(name: str, model, images: torch.Tensor) -> torch.Tensor:
    """Take the same numbers another way than the wrapper."""
    if name == 'sam':
        return model.get_image_embeddings(images).flatten(2).transpose(1, 2)
    if name == 'depth_anything':
        features = model.backbone.forward_with_filtered_kwargs(images).feature_maps
        side = images.shape[-1] // 14
        neck = model.neck(features, side, side)
        head = model.head
        grid = head.conv1(neck[head.head_in_index])
        grid = F.interpolate(grid, (side * 14, side * 14), mode='bilinear', align_corners=True)
        grid = head.conv2(grid)
        # By hand: row i of 64 is row floor(i * 518 / 64) of 518.
        picked = torch.arange(64) * grid.shape[-1] // 64
        return grid[:, :, picked][:, :, :, picked].flatten(2).transpose(1, 2)
    return model(pixel_values=images).last_hidden_state[:, 1:]


@pytest.mark.parametrize('name', TEACHERS)
def test_the_teacher_sees_what_its_own_processor_makes(name: str) -> None:
    ours = VIEWS[name].images(PIXELS)
    theirs = processor(name)(list(PIXELS), return_tensors='pt')['pixel_values']
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=0, atol=2e-6)


@pytest.mark.parametrize('name', TEACHERS)
def test_the_targets_are_those_of_the_library(name: str, folders: dict[str, Path]) -> None:
    teacher = TransformersTeacher(name, str(folders[name]), CPU)
    pixels = PIXELS[:1]
    with torch.inference_mode():
        found = teacher.targets(Pictures(torch.from_numpy(pixels), torch.empty(0), torch.empty(0)))
        model = network(name).eval()
        expected = expected_tokens(name, model, VIEWS[name].images(pixels))
    catalogued = TEACHERS[name]
    h, w = catalogued.grid_hw
    assert tuple(found.shape) == (1, *teacher.shape) == (1, h * w, catalogued.channels)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-4, atol=1e-4)
    assert 0.1 < found.std() < 100


def test_dinov2_covers_the_part_that_the_catalogue_says() -> None:
    """A mark at the edge of the picture is not to be seen, one inside of the view is."""
    marked = np.zeros((2, 224, 224, 3), np.uint8)
    marked[0, :, :13] = 255
    marked[1, :, 16:20] = 255
    edge, inside = VIEWS['dinov2'].images(marked)
    assert edge.max() < edge.min() + 2.7  # flat, up to what the filter spreads
    assert (inside.amax(dim=(1, 2)) > edge.amax(dim=(1, 2))).all()
    assert TEACHERS['dinov2'].view == 196 / 224


class TestMistakes:
    def test_a_network_of_another_width_is_refused(self, tmp_path: Path) -> None:
        config = transformers.ViTConfig(
            hidden_size=32,
            num_attention_heads=2,
            intermediate_size=32,
            num_hidden_layers=1,
            patch_size=14,
        )
        transformers.ViTModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
        teacher = TransformersTeacher('vit', str(tmp_path), CPU)
        pictures = Pictures(torch.from_numpy(PIXELS[:1]), torch.empty(0), torch.empty(0))
        with pytest.raises(WeightsError, match=r'a head for vit learns \(256, 1280\)'):
            teacher.targets(pictures)

    def test_no_folder_is_told_at_once(self) -> None:
        with pytest.raises(ParameterError, match='--teachers clip=/nowhere: no such folder'):
            TransformersTeacher('clip', '/nowhere', CPU)

    def test_an_empty_folder_is_told_in_one_line(self, tmp_path: Path) -> None:
        pictures = Pictures(torch.from_numpy(PIXELS[:1]), torch.empty(0), torch.empty(0))
        with pytest.raises(WeightsError, match='the teacher clip cannot be loaded from') as caught:
            TransformersTeacher('clip', str(tmp_path), CPU).targets(pictures)
        assert '\n' not in str(caught.value)

    def test_without_transformers_the_extra_is_named(self, monkeypatch) -> None:
        monkeypatch.setitem(__import__('sys').modules, 'transformers', None)
        with pytest.raises(ParameterError, match=r"pip install 'theia_ros\[distil\]'"):
            TransformersTeacher('clip', '', CPU)


def test_other_files_are_another_teacher(folders: dict[str, Path], tmp_path: Path) -> None:
    first = TransformersTeacher('vit', str(folders['vit']), CPU).identity
    assert TransformersTeacher('vit', str(folders['vit']), CPU).identity == first
    assert TransformersTeacher('vit', str(tmp_path), CPU).identity != first
    assert TransformersTeacher('vit', '', CPU).identity != first
