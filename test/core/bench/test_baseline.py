from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from theia_ros.bench.baseline import Baseline
from theia_ros.bench.baseline import published_input
from theia_ros.bench.pictures import make_frames
from theia_ros.encoder import Encoder
from theia_ros.errors import EngineError
from theia_ros.preprocess import NORMALISED
from theia_ros.preprocess import prepare


@pytest.mark.parametrize('image_hw', [(480, 640), (224, 224), (75, 99), (640, 100)])
def test_the_baseline_gives_the_model_the_same_bits(image_hw) -> None:
    frames = make_frames(2, image_hw)
    expected = [published_input(frame.rgb) for frame in frames]
    pixels = prepare([frame.rgb for frame in frames], 'official')
    ours = NORMALISED[pixels].transpose(0, 3, 1, 2)  # what the model begins with
    np.testing.assert_array_equal(ours, np.stack(expected))


def test_the_baseline_equals_the_encoder(params) -> None:
    frames = make_frames(2, (48, 80))
    found, step_ms = Baseline(params).run(frames, ['theia', 'clip'])
    with Encoder(params) as encoder:
        expected = encoder.encode(frames, ['theia', 'clip'])
    assert list(step_ms) == ['preprocess', 'compute', 'copy_back']
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.keys() == theirs.features.keys()
        for name, tokens in mine.items():
            np.testing.assert_allclose(tokens, theirs.features[name].tokens, rtol=0, atol=1e-5)


def test_others_are_compared_with_true_float32(params, monkeypatch) -> None:
    baseline, allowed = Baseline(params), []

    def run(*_: object) -> object:
        allowed.append(torch.backends.cudnn.allow_tf32)
        return ['tensors'], {}

    monkeypatch.setattr(baseline, 'run', run)
    before = torch.backends.cudnn.allow_tf32
    assert baseline.expected(make_frames(1, (32, 48)), ['theia']) == ['tensors']
    assert (allowed, torch.backends.cudnn.allow_tf32) == ([False], before)


def test_the_baseline_gives_only_what_is_asked_for(params) -> None:
    (found,), _ = Baseline(params).run(make_frames(1, (32, 32)), ['clip'])
    assert list(found) == ['clip']


@pytest.mark.parametrize('device', ['cuda:99', 'meta', 'no such device'])
def test_a_device_that_is_not_there_is_named(device: str, params) -> None:
    with pytest.raises(
        EngineError, match=f"^device '{device}' is not there; use one of auto, cpu"
    ):
        Baseline(replace(params, device=device))
