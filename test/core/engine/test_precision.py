from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import synthetic
from torch import nn

from theia_ros import checkpoint
from theia_ros.engine.precision import in_precision
from theia_ros.engine.reference import pictures
from theia_ros.engine.split import export_part
from theia_ros.model import TheiaModel

# Largest difference to float32, as part of the largest number: a little above what was measured.
ERROR = {'fp32': 1e-5, 'fp16': 5e-3, 'bf16': 4e-2}
TEACHERS = ('clip', 'sam')
HALF = {'fp16': torch.float16, 'bf16': torch.bfloat16}


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> TheiaModel:
    folder = tmp_path_factory.mktemp('two_heads')
    return checkpoint.load(synthetic.write_model(folder, teachers=TEACHERS))


@pytest.fixture(scope='module')
def reference(model: TheiaModel) -> dict[str, torch.Tensor]:
    return model(torch.from_numpy(pictures()[:1]), model.config.tensors)


@pytest.mark.parametrize('how', [{}, {'written_out': True}, {'stepwise_norms': True}], ids=str)
@pytest.mark.parametrize('precision', ['fp32', 'fp16', 'bf16'])
def test_close_to_float32(precision, how, model, reference) -> None:
    other = in_precision(model, precision, **how)
    wide = [m for m in other.modules() if isinstance(m, nn.LayerNorm) and len(m.weight.shape) > 1]
    assert bool(wide) == ('stepwise_norms' not in how)
    found = other(torch.from_numpy(pictures()[:1]), model.config.tensors)
    for name, expected in reference.items():
        assert found[name].dtype == torch.float32
        error = (found[name] - expected).abs().max() / expected.abs().max()
        assert error < ERROR[precision], name


def test_float32_is_the_model_bit_for_bit(model, reference) -> None:
    found = in_precision(model, 'fp32')(torch.from_numpy(pictures()[:1]), model.config.tensors)
    for name, expected in reference.items():
        assert torch.equal(found[name], expected)


@pytest.mark.parametrize('precision', ['fp16', 'bf16'])
def test_the_model_is_left_as_it_is(precision: str, model: TheiaModel) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    other = in_precision(model, precision, written_out=True)
    assert other is not model
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, before[name]), name
    # What stays in float32 is shared and not copied.
    assert other.backbone.positions.data_ptr() == model.backbone.positions.data_ptr()


@pytest.mark.parametrize('precision', ['fp16', 'bf16'])
@pytest.mark.parametrize('tensor', ['theia', 'sam'])
def test_normalisations_and_softmax_stay_in_float32(tensor, precision, model) -> None:
    program = export_part(in_precision(model, precision, written_out=True), tensor, 2)
    kinds: dict[str, set[torch.dtype]] = {}
    for node in program.graph.nodes:
        if isinstance(node.target, torch._ops.OpOverload) and hasattr(node.args[0], 'meta'):
            kind = node.target.name().partition('::')[2].partition('.')[0]
            kinds.setdefault(kind, set()).add(node.args[0].meta['val'].dtype)
    half = HALF[precision]
    assert kinds['layer_norm'] == {torch.float32}
    assert kinds['linear'] == {half}
    if tensor == 'theia':
        assert kinds['softmax'] == {torch.float32}
        assert kinds['matmul'] == {half}
        assert kinds['conv2d'] == {half}
        assert kinds['add'] == {torch.float32}
    else:
        # TensorRT has no transposed convolution in bfloat16.
        assert kinds['conv_transpose2d'] == {torch.float32 if precision == 'bf16' else half}


def layer_norm_in(dtype: torch.dtype, x: torch.Tensor, norm: nn.LayerNorm) -> torch.Tensor:
    """Normalise with every step in one type, as a runtime may."""
    dims = tuple(range(-len(norm.normalized_shape), 0))
    x = x.to(dtype)
    centred = x - x.mean(dims, keepdim=True)
    variance = (centred * centred).to(dtype).mean(dims, keepdim=True)
    return centred / (variance + norm.eps).sqrt() * norm.weight.to(dtype) + norm.bias.to(dtype)


def test_wide_normalisations_overflow_float16_and_do_not_here(model: TheiaModel) -> None:
    """Channels above 256 have squares above what float16 holds."""
    model = in_precision(model, 'fp32')
    head = model.heads['clip']
    with torch.no_grad():
        for step in (head[0], head[2]):
            step.weight = nn.Parameter(step.weight * 2000)
            step.bias = nn.Parameter(step.bias * 2000)
    grid = model.backbone(model.normalise(torch.from_numpy(pictures()[:1])))[:, 1:]
    grid = grid.transpose(1, 2).reshape(1, -1, 14, 14)
    wide = head[0](grid)
    assert wide.abs().max() > 256
    assert layer_norm_in(torch.float32, wide, head[1]).isfinite().all()
    plain = layer_norm_in(torch.float16, wide, head[1])
    error = (plain.float() - head[1](wide)).abs().max()
    assert not error < 1  # infinite variance: every number becomes the bias, or NaN
    mixed = in_precision(model, 'fp16').heads['clip'](grid)
    expected = head(grid)
    assert mixed.isfinite().all()
    assert (mixed - expected).abs().max() / expected.abs().max() < ERROR['fp16']


def test_output_padding_is_appended_exactly(model: TheiaModel) -> None:
    written_out = in_precision(model, 'fp32', written_out=True)
    grid = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 192, 14, 14)))
    expected, found = (m.heads['sam'](grid.float()) for m in (model, written_out))
    assert found.shape == (2, 4096, 256)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
