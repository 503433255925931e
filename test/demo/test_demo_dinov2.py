import numpy as np
import pytest
import torch
from torch.nn import functional

from theia_ros.demo import dinov2

RNG = np.random.default_rng(7)


def random(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def tiny_dinov2(width=8, hidden=32):
    """A ViT-S/14 in everything but its width, with random weights."""
    weights = {
        'embeddings.cls_token': random(1, 1, width),
        'embeddings.position_embeddings': random(1, 1 + 37 * 37, width),
        'embeddings.patch_embeddings.projection.weight': random(width, 3, 14, 14),
        'embeddings.patch_embeddings.projection.bias': random(width),
        'layernorm.weight': random(width),
        'layernorm.bias': random(width),
    }
    sizes = {'mlp.fc1': (hidden, width), 'mlp.fc2': (width, hidden)}
    for layer in (f'encoder.layer.{index}.' for index in range(12)):
        for part in ('norm1', 'norm2'):
            weights[f'{layer}{part}.weight'] = random(width)
            weights[f'{layer}{part}.bias'] = random(width)
        attention = [f'attention.attention.{name}' for name in ('query', 'key', 'value')]
        for part in (*attention, 'attention.output.dense', 'mlp.fc1', 'mlp.fc2'):
            out, into = sizes.get(part, (width, width))
            weights[f'{layer}{part}.weight'] = random(out, into)
            weights[f'{layer}{part}.bias'] = random(out)
        weights[f'{layer}layer_scale1.lambda1'] = random(width)
        weights[f'{layer}layer_scale2.lambda1'] = random(width)
    return weights


def test_folded_scale_equals_a_scale_behind_the_layer():
    weight, bias, scale, tokens = random(8, 32), random(8), random(8), random(5, 32)
    folded, folded_bias = dinov2.fold_scale(weight, bias, scale)
    np.testing.assert_allclose(
        tokens @ folded.T + folded_bias, (tokens @ weight.T + bias) * scale, atol=1e-5
    )


def test_folded_normalisation_equals_normalising_first():
    kernel, bias, pixels = random(8, 3, 16, 16), random(8), RNG.random((5, 3, 16, 16))
    mean = np.array([0.485, 0.456, 0.406])[:, None, None]
    std = np.array([0.229, 0.224, 0.225])[:, None, None]
    folded, folded_bias = dinov2.fold_normalisation(kernel.astype(np.float64), bias)

    def respond(images, kernel, bias):
        return np.einsum('bcyx,ocyx->bo', images, kernel) + bias

    np.testing.assert_allclose(
        respond((pixels - 0.5) / 0.5, folded, folded_bias),
        respond((pixels - mean) / std, kernel, bias),
        atol=1e-5,
    )


def test_new_kernel_responds_to_an_enlarged_patch_as_the_old_one_to_the_old():
    kernel, patches = random(8, 3, 14, 14), random(5, 3, 14, 14)
    enlarged = functional.interpolate(
        torch.from_numpy(patches), size=(16, 16), mode='bilinear', align_corners=False
    ).numpy()
    new = dinov2.resize_kernel(kernel, 16)
    np.testing.assert_allclose(
        np.einsum('bcyx,ocyx->bo', enlarged, new),
        np.einsum('bcyx,ocyx->bo', patches, kernel),
        atol=1e-4,
    )


def test_positions_stay_when_the_grid_stays():
    table = random(1, 1 + 14 * 14, 8)
    np.testing.assert_array_equal(dinov2.resize_positions(table, 14), table)


def test_positions_are_resized_as_torch_does_and_the_cls_row_stays():
    table = random(1, 1 + 37 * 37, 8)
    grid = torch.from_numpy(table[:, 1:].reshape(1, 37, 37, 8)).permute(0, 3, 1, 2)
    expected = functional.interpolate(grid, size=(14, 14), mode='bicubic', align_corners=False)
    resized = dinov2.resize_positions(table, 14)
    np.testing.assert_array_equal(resized[:, 0], table[:, 0])
    np.testing.assert_allclose(
        resized[:, 1:], expected.flatten(2).transpose(1, 2).numpy(), atol=1e-5
    )


@pytest.mark.parametrize('matrix', [dinov2.linear_matrix, dinov2.cubic_matrix])
def test_a_constant_line_stays_constant(matrix):
    np.testing.assert_allclose(matrix(37, 14).sum(axis=1), 1, atol=1e-12)


def test_checkpoint_has_the_keys_and_shapes_of_the_official_ones():
    tensors = dinov2.convert(tiny_dinov2())
    layer = 'backbone.model.encoder.layer.11.'
    expected = {
        'backbone.model.embeddings.cls_token': (1, 1, 8),
        'backbone.model.embeddings.position_embeddings': (1, 197, 8),
        'backbone.model.embeddings.patch_embeddings.projection.weight': (8, 3, 16, 16),
        'backbone.model.embeddings.patch_embeddings.projection.bias': (8,),
        f'{layer}layernorm_before.weight': (8,),
        f'{layer}layernorm_after.bias': (8,),
        f'{layer}attention.attention.query.weight': (8, 8),
        f'{layer}attention.attention.key.bias': (8,),
        f'{layer}attention.attention.value.weight': (8, 8),
        f'{layer}attention.output.dense.weight': (8, 8),
        f'{layer}intermediate.dense.weight': (32, 8),
        f'{layer}output.dense.weight': (8, 32),
        'backbone.model.layernorm.weight': (8,),
    }
    assert len(tensors) == 198
    assert {name: tensors[name].shape for name in expected} == expected
    assert {tensor.dtype for tensor in tensors.values()} == {np.dtype(np.float32)}


def test_weights_go_where_they_belong():
    before = tiny_dinov2()
    after = dinov2.convert(before)
    old, new = 'encoder.layer.3.', 'backbone.model.encoder.layer.3.'
    pairs = {
        'norm1.weight': 'layernorm_before.weight',
        'norm2.bias': 'layernorm_after.bias',
        'attention.attention.query.weight': 'attention.attention.query.weight',
        'mlp.fc1.bias': 'intermediate.dense.bias',
    }
    for source, target in pairs.items():
        np.testing.assert_array_equal(after[new + target], before[old + source])
    scaled = before[f'{old}mlp.fc2.weight'] * before[f'{old}layer_scale2.lambda1'][:, None]
    np.testing.assert_array_equal(after[f'{new}output.dense.weight'], scaled)


def test_weights_are_read_from_a_graph_as_the_exporter_writes_it():
    onnx = pytest.importorskip('onnx', reason='needs onnx, from the extra "demo"')
    arrays = {
        'backbone.layernorm.weight': random(8),
        'decoder.bn1.weight': random(8),
        'onnx::MatMul_1': random(8, 32),
        'onnx::Concat_2': random(1, 1, 8),
        'onnx::Reshape_3': random(1, 4, 8),
    }
    matmul = '/backbone/encoder/layer.0/mlp/fc1/MatMul'
    nodes = [
        onnx.helper.make_node('MatMul', ['x', 'onnx::MatMul_1'], ['a'], name=matmul),
        onnx.helper.make_node(
            'Concat', ['onnx::Concat_2', 'y'], ['b'], name='/backbone/embeddings/Concat_6', axis=1
        ),
        onnx.helper.make_node(
            'Reshape', ['onnx::Reshape_3', 'z'], ['c'], name='/backbone/embeddings/Reshape_1'
        ),
    ]
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = onnx.helper.make_graph(nodes, 'backbone', [], [], tensors)
    weights = dinov2.read_dinov2(onnx.helper.make_model(graph).SerializeToString())
    assert set(weights) == {
        'layernorm.weight',
        'encoder.layer.0.mlp.fc1.weight',
        'embeddings.position_embeddings',
    }
    linear = weights['encoder.layer.0.mlp.fc1.weight']
    np.testing.assert_array_equal(linear, arrays['onnx::MatMul_1'].T)
    assert weights['embeddings.position_embeddings'].shape == (1, 5, 8)
