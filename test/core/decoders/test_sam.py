from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import synthetic
from safetensors.torch import load_file
from safetensors.torch import save_file

from theia_ros.decoders import sam
from theia_ros.errors import WeightsError

GOLDEN = synthetic.goldens('sam_decoder')
ATOL = 5e-5

POSITION = 'shared_image_embedding.positional_embedding'
POSITION_COPY = 'prompt_encoder.shared_embedding.positional_embedding'


@pytest.fixture
def prompts(network):
    return network.point(torch.from_numpy(GOLDEN['points']))


def test_the_embedding_is_that_of_the_goldens(embedding):
    np.testing.assert_allclose(
        synthetic.golden_rule.summary(embedding), GOLDEN['embedding_summary'], rtol=0, atol=ATOL
    )


def test_places_are_coded_as_published(network, embedding):
    position = network.look(embedding).position.T.reshape(256, 64, 64)
    np.testing.assert_allclose(
        position[::8, ::8, ::8], GOLDEN['image_pe_strided'], rtol=0, atol=ATOL
    )


def test_masks_and_scores_are_those_of_the_published_code(network, embedding, prompts):
    scores, drawn, logits = network(network.look(embedding), prompts)
    np.testing.assert_allclose(scores, GOLDEN['iou_scores'], rtol=0, atol=ATOL)
    assert drawn.all()
    masks = logits.view(3, 3, 256, 256)
    np.testing.assert_allclose(masks[:, :, ::8, ::8], GOLDEN['low_res_strided'], rtol=0, atol=ATOL)
    for point in range(3):
        for mask in range(3):
            np.testing.assert_allclose(
                synthetic.golden_rule.summary(masks[point, mask]),
                GOLDEN['low_res_summary'][point, mask],
                rtol=1e-5,
                atol=ATOL,
            )


def test_the_single_mask_has_the_published_score(network, embedding, prompts):
    """It is not drawn, but its score shows that the masks are counted from the right one."""
    decoder = network.mask_decoder
    tokens, _ = decoder.transformer(prompts, network.look(embedding))
    single = decoder.iou_prediction_head(tokens[:, 0])[:, :1]
    np.testing.assert_allclose(single, GOLDEN['single_mask_iou'], rtol=0, atol=ATOL)


def test_what_will_not_be_kept_is_not_drawn(network, embedding, prompts):
    image = network.look(embedding)
    scores, _, everything = network(image, prompts)
    for threshold in (0.1, 0.2, 0.24, 9.0):
        same, drawn, logits = network(image, prompts, threshold)
        assert torch.equal(same, scores)
        assert torch.equal(drawn, scores > threshold)
        torch.testing.assert_close(logits, everything[drawn.flatten()], rtol=0, atol=ATOL)
    assert len(logits) == 0


def test_a_batch_of_points_equals_its_points_one_by_one(network, embedding, prompts):
    image = network.look(embedding)
    scores, _, logits = network(image, prompts)
    for i in range(3):
        alone_scores, _, alone = network(image, prompts[i : i + 1])
        torch.testing.assert_close(alone_scores, scores[i : i + 1], rtol=0, atol=ATOL)
        torch.testing.assert_close(alone, logits[3 * i : 3 * i + 3], rtol=0, atol=ATOL)


def test_the_network_has_the_published_tensors(network):
    """All 138 but for the second name of one, 4.07 million numbers."""
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert {**shapes, POSITION_COPY: (2, 128)} == synthetic.sam_shapes()
    assert len(synthetic.sam_shapes()) == 138
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(4.06e6, rel=0.01)
    assert not any(p.requires_grad for p in network.parameters())


@pytest.fixture
def tensors(whole_folder):
    return load_file(whole_folder / 'decoders' / 'sam.safetensors')


@pytest.mark.parametrize('missing', [POSITION, POSITION_COPY])
def test_one_of_the_two_names_is_enough(tensors, network, tmp_path, missing):
    tensors.pop(missing)
    save_file(tensors, tmp_path / 'sam.safetensors')
    loaded = sam.load(tmp_path / 'sam.safetensors').state_dict()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in network.state_dict().items())


def test_the_second_copy_has_no_say(tensors, network, tmp_path):
    tensors[POSITION_COPY].add_(1)
    save_file(tensors, tmp_path / 'sam.safetensors')
    loaded = sam.load(tmp_path / 'sam.safetensors').state_dict()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in network.state_dict().items())


KEY = 'mask_decoder.upscale_conv1.weight'


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        pytest.param(
            lambda t: t.pop(KEY), f'137 tensors expected, 1 missing .first: {KEY}', id='missing'
        ),
        pytest.param(
            lambda t: t.update({'vision_encoder.pos_embed': torch.ones(1)}),
            'does not fit the mask decoder of SAM: .* 1 unexpected .first: vision_encoder.pos',
            id='extra',
        ),
        pytest.param(
            lambda t: t.update({KEY: torch.ones(64, 256, 2, 2)}),
            rf'{KEY} has shape \(64, 256, 2, 2\); expected \(256, 64, 2, 2\)',
            id='shape',
        ),
        pytest.param(lambda t: t[KEY].fill_(float('nan')), f'{KEY} holds NaN', id='nan'),
    ],
)
def test_another_network_is_refused(tensors, tmp_path, change, said):
    change(tensors)
    save_file(tensors, tmp_path / 'sam.safetensors')
    with pytest.raises(WeightsError, match=said) as caught:
        sam.load(tmp_path / 'sam.safetensors')
    assert '\n' not in str(caught.value)
