"""What the order of work saves in segmentation: the naive one against that of the decoder.

The naive order does for every point what the published pipeline does for every batch of points:
all of the image's side, and every mask drawn at full size before any is judged.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from theia_ros.bench import machine
from theia_ros.bench.pictures import make_frames
from theia_ros.catalog import model_folder
from theia_ros.catalog import TEACHERS
from theia_ros.decoders import sam
from theia_ros.decoders.masks import Enlarger
from theia_ros.decoders.masks import grid_points
from theia_ros.decoders.masks import keep
from theia_ros.decoders.masks import Masks
from theia_ros.decoders.masks import without_repeats
from theia_ros.decoders.segmentation import SegmentationDecoder
from theia_ros.encoder import Encoder
from theia_ros.errors import ParameterError
from theia_ros.params import EncoderParams
from theia_ros.parts import find_part
from theia_ros.parts import read_statistics
from theia_ros.parts import Statistics

SCHEMA = 'theia_ros segmentation bench 1'

LARGEST_DIFFERENCE = 1e-4
"""Part of the pixels of the masks in which the two orders may differ: logits within rounding."""


def run(params: EncoderParams, image_hw: tuple[int, int], rounds: int) -> dict[str, Any]:
    """Compare the two orders, then time them in turns.

    Args:
        params: Whose model has the head `sam`, with SAM's own mask decoder beside it.
        image_hw: Rows and columns of the picture.
        rounds: Of each order.

    Returns:
        A document as `report.text` shows it: milliseconds of a point by order, medians over the
        rounds, and their ratio.

    Raises:
        ParameterError: The model cannot segment, or the orders disagree.
    """
    load_before = machine.load()
    folder = model_folder(params.model)
    part, statistics = (
        find_part(folder, 'decoders/sam.safetensors'),
        read_statistics(folder, 'sam'),
    )
    # Torch, since only the decoder is timed and no engine needs to be built for it.
    with Encoder(replace(params, backend='torch')) as encoder:
        if 'sam' not in encoder.tensors or not part or not statistics:
            raise ParameterError(
                f'{params.model} cannot segment: it needs the head sam, decoders/sam.safetensors '
                'and the statistics of sam; theia-ros fetch brings them'
            )
        tokens = encoder.infer(make_frames(1, image_hw), ['sam']).tensors['sam']
    grid = tokens[0].T.reshape(-1, *TEACHERS['sam'].grid_hw)
    decoder = SegmentationDecoder(statistics, sam.load(part), params)
    network, points = sam.load(part).to(grid.device), params.segmentation_points_per_side**2

    with torch.inference_mode():
        # Keeping every mask, so that there is something to compare whatever the weights find.
        all_kept = replace(
            params,
            segmentation_points_per_side=min(4, params.segmentation_points_per_side),
            segmentation_iou_threshold=0.0,
            segmentation_stability_threshold=0.0,
        )
        compared = naive(network, statistics, grid, all_kept)
        decoder.use(all_kept)
        difference = _difference(decoder.find(grid), compared)
        decoder.use(params)
        times_ms: dict[str, list[float]] = {'naive': [], 'ours': []}
        for _ in range(rounds):
            start_ns = time.perf_counter_ns()
            naive(network, statistics, grid, params)
            middle_ns = time.perf_counter_ns()
            decoder.find(grid)
            times_ms['naive'].append((middle_ns - start_ns) / 1e6 / points)
            times_ms['ours'].append((time.perf_counter_ns() - middle_ns) / 1e6 / points)
    medians = {name: float(np.median(values)) for name, values in times_ms.items()}
    return {
        'schema': SCHEMA,
        'kind': 'segmentation',
        **machine.describe(),
        'load': {'before': load_before, 'after': machine.load()},
        'model': machine.model_name(params.model),
        'rounds': rounds,
        'points': points,
        'masks_compared': len(compared),
        'masks': len(decoder.find(grid)),
        'pixels_that_differ': difference,
        'ms_per_point': medians,
        'ratio': medians['naive'] / medians['ours'],
    }


def naive(
    network: sam.SamDecoder, statistics: Statistics, grid: torch.Tensor, params: EncoderParams
) -> Masks:
    """Return the masks of a picture, everything done again for every point."""
    enlarge, parts = Enlarger(), []
    for point in grid_points(params.segmentation_points_per_side).to(grid.device):
        image = network.look(statistics.denormalise(grid.flatten(1).T).T.view_as(grid))
        scores, drawn, logits = network(image, network.point(point[None]), 0.0)
        parts.append(
            keep(
                enlarge(logits),
                scores[drawn],
                params.segmentation_iou_threshold,
                params.segmentation_stability_threshold,
            )
        )
    return without_repeats(Masks.joined(parts))


def _difference(ours: Masks, theirs: Masks) -> float:
    """Return the part of the pixels that differ.

    Raises:
        ParameterError: It is too large, or the masks are others.
    """
    if ours.pixels.shape != theirs.pixels.shape:
        raise ParameterError(
            f'the two orders find {len(ours)} and {len(theirs)} masks; expected the same'
        )
    differ = (ours.pixels != theirs.pixels).double().mean() if len(ours) else torch.zeros(())
    if float(differ) > LARGEST_DIFFERENCE:
        raise ParameterError(f'the two orders differ in {float(differ):.1%} of the pixels')
    return float(differ)
