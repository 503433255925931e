from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import synthetic

from theia_ros.decoders.masks import boxes
from theia_ros.decoders.masks import Enlarger
from theia_ros.decoders.masks import grid_points
from theia_ros.decoders.masks import keep
from theia_ros.decoders.masks import Masks
from theia_ros.decoders.masks import overlaps
from theia_ros.decoders.masks import stability
from theia_ros.decoders.masks import without_repeats

GOLDEN = synthetic.goldens('sam_decoder')
LOGITS, SCORES = (torch.from_numpy(a).flatten(0, 1) for a in synthetic.golden_rule.sam_synthetic())


@pytest.mark.parametrize(
    ('name', 'iou_threshold', 'stability_threshold'),
    [('example_0.5_0.7', 0.5, 0.7), ('default_0.9_0.9', 0.9, 0.9), ('hf_0.88_0.95', 0.88, 0.95)],
)
def test_what_is_kept_is_what_the_published_code_keeps(name, iou_threshold, stability_threshold):
    """Identical: the same masks in the same order."""
    found = without_repeats(keep(LOGITS, SCORES, iou_threshold, stability_threshold))
    golden = {part: GOLDEN[f'synthetic/{name}/{part}'] for part in ('scores', 'boxes', 'areas')}
    np.testing.assert_array_equal(found.scores, golden['scores'])
    np.testing.assert_array_equal(found.boxes, golden['boxes'])
    np.testing.assert_array_equal(found.pixels.sum(dim=(1, 2)), golden['areas'])


def test_stability_is_that_of_the_published_code():
    np.testing.assert_array_equal(stability(LOGITS), GOLDEN['synthetic/stability'])


def test_thresholds_of_zero_keep_everything():
    assert len(keep(LOGITS, SCORES, 0.0, 0.0)) == len(LOGITS) == 180
    assert len(keep(LOGITS, SCORES, 0.0, 0.7)) == (stability(LOGITS) > 0.7).sum()
    assert len(keep(LOGITS, SCORES, 0.5, 0.0)) == (SCORES > 0.5).sum()


def test_a_mask_without_pixels_is_not_stable():
    empty = torch.full((1, 8, 8), -5.0)
    assert stability(empty).isnan().all()
    assert len(keep(empty, torch.ones(1), 0.5, 0.7)) == 0
    kept = keep(empty, torch.ones(1), 0.5, 0.0)
    assert kept.boxes.tolist() == [[0, 0, 0, 0]]
    assert len(without_repeats(kept)) == 1


def test_enlarging_equals_enlarging_and_reducing(network, embedding):
    """The published code goes over 1024 pixels; ours does both steps at once."""
    prompts = network.point(torch.from_numpy(GOLDEN['points']))
    _, _, logits = network(network.look(embedding), prompts)
    ours = Enlarger()(logits)
    large = F.interpolate(logits[None], 1024, mode='bilinear', align_corners=False)
    theirs = F.interpolate(large, 224, mode='bilinear', align_corners=False)[0]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)
    np.testing.assert_allclose(
        ours.view(3, 3, 224, 224)[:, :, ::8, ::8],
        GOLDEN['upscaled_224_strided'],
        rtol=0,
        atol=5e-5,
    )


def test_rows_and_columns_are_not_exchanged():
    logits = torch.zeros(1, 256, 256)
    logits[0, :64, 192:] = 1
    found = boxes(Enlarger()(logits) > 0.5)
    assert found.tolist() == [[168, 0, 223, 55]]


def test_boxes_end_in_their_last_pixel():
    pixels = torch.zeros(3, 20, 30, dtype=torch.bool)
    pixels[0, 4:9, 11:13] = True
    pixels[1, 0, 0] = pixels[1, 19, 29] = True
    assert boxes(pixels).tolist() == [[11, 4, 12, 8], [0, 0, 29, 19], [0, 0, 0, 0]]
    assert boxes(pixels[:0]).shape == (0, 4)


def test_points_are_spread_row_by_row():
    assert grid_points(2).tolist() == [[256, 256], [768, 256], [256, 768], [768, 768]]
    assert grid_points(32)[:2].tolist() == [[16, 16], [48, 16]]
    assert grid_points(32)[-1].tolist() == [1008, 1008]


def masks_of(corners, scores):
    found = torch.tensor(corners)
    return Masks(torch.zeros(len(found), 4, 4).bool(), torch.tensor(scores), found)


def test_repeats_of_a_better_mask_go():
    a, b, c = [0, 0, 100, 100], [0, 0, 100, 90], [0, 0, 100, 69]  # overlaps: 0.9, 0.69, 0.77
    assert without_repeats(masks_of([a, b], [0.6, 0.7])).boxes.tolist() == [b]
    assert without_repeats(masks_of([a, c], [0.6, 0.7])).boxes.tolist() == [c, a]
    # The one that would have suppressed the last is itself suppressed.
    assert without_repeats(masks_of([c, b, a], [0.6, 0.7, 0.8])).boxes.tolist() == [a, c]
    assert without_repeats(masks_of([a, a], [0.5, 0.5])).boxes.tolist() == [a]
    assert len(without_repeats(masks_of([a, a, a], [0.5, 0.6, 0.7]), 1.0)) == 3


def test_an_overlap_of_just_the_limit_stays():
    pair = masks_of([[0, 0, 100, 100], [0, 0, 100, 70]], [0.9, 0.8])
    assert len(without_repeats(pair)) == 2


def test_boxes_without_area_overlap_nothing():
    thin = np.array([[3, 3, 3, 9], [3, 3, 3, 9]])
    assert not overlaps(thin, thin).any()
    assert overlaps(thin[:0], thin).shape == (0, 2)


def test_no_masks_at_all():
    nothing = keep(LOGITS[:0], SCORES[:0], 0.5, 0.7)
    assert len(without_repeats(Masks.joined([nothing, nothing]))) == 0


def pipeline(network, embedding, points, iou_threshold, stability_threshold):
    image, enlarge, parts = network.look(embedding), Enlarger(), []
    for prompts in torch.split(network.point(points), 4):
        scores, drawn, logits = network(image, prompts, iou_threshold)
        parts.append(keep(enlarge(logits), scores[drawn], iou_threshold, stability_threshold))
    return Masks.joined(parts)


def assert_is_the_published_result(masks):
    np.testing.assert_allclose(masks.scores, GOLDEN['pipeline/scores'], rtol=0, atol=5e-5)
    np.testing.assert_array_equal(masks.boxes, GOLDEN['pipeline/boxes'])
    np.testing.assert_array_equal(masks.pixels.sum(dim=(1, 2)), GOLDEN['pipeline/areas'])
    golden = np.unpackbits(GOLDEN['pipeline/best8_packbits'], axis=-1).astype(bool)
    np.testing.assert_array_equal(masks.pixels, golden)


def thresholds():
    iou_threshold, stability_threshold, overlap = GOLDEN['pipeline/thresholds_iou_stability_nms']
    return float(iou_threshold), float(stability_threshold), float(overlap)


def test_the_pipeline_keeps_what_the_published_one_keeps(network, embedding):
    """Of two rows of the grid, around the four points that something is kept of."""
    iou_threshold, stability_threshold, overlap = thresholds()
    points = grid_points(32).view(32, 32, 2)[13:15, 6:14].reshape(-1, 2)
    found = pipeline(network, embedding, points, iou_threshold, stability_threshold)
    assert_is_the_published_result(without_repeats(found, overlap))


@pytest.mark.slow
def test_the_whole_pipeline_keeps_what_the_published_one_keeps(network, embedding):
    """All 1024 points: the same four masks, to the pixel."""
    iou_threshold, stability_threshold, overlap = thresholds()
    found = pipeline(network, embedding, grid_points(32), iou_threshold, stability_threshold)
    assert_is_the_published_result(without_repeats(found, overlap))
