from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from theia_ros.distil import statistics
from theia_ros.distil.statistics import measure
from theia_ros.distil.statistics import normalise
from theia_ros.distil.truth import OFFSET
from theia_ros.errors import ParameterError
from theia_ros.parts import read_statistics


class Rows:
    """Targets in memory."""

    def __init__(self, tokens: torch.Tensor) -> None:
        self._tokens = tokens

    def rows(self, pictures) -> torch.Tensor:
        return self._tokens[torch.as_tensor(np.array(pictures))]


def test_they_are_those_of_the_pictures_to_learn_from(silent, monkeypatch) -> None:
    monkeypatch.setattr(statistics, 'SHARD', 2)
    tokens = torch.randn(7, 256, 384, generator=torch.Generator().manual_seed(0)) * 3 + 5
    found = measure('dinov2_small', Rows(tokens), np.array([0, 2, 3, 6]), silent)
    flat = tokens[[0, 2, 3, 6]].flatten(0, 1)
    torch.testing.assert_close(found.mean, flat.mean(dim=0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.std, flat.std(dim=0, correction=0), rtol=1e-5, atol=1e-5)
    normal = normalise(tokens[[0, 2, 3, 6]], found).flatten(0, 1)
    assert normal.mean(dim=0).abs().max() < 1e-4
    torch.testing.assert_close(found.denormalise(normalise(tokens, found)), tokens)


def test_depth_is_above_zero_and_unknown_cells_do_not_count(silent) -> None:
    tokens = torch.randn(3, 256, 16, generator=torch.Generator().manual_seed(0)) * 0.4 + 1
    known = tokens.clone()
    tokens[:, ::5, 3] = torch.nan
    found = measure('depth', Rows(tokens), np.arange(3), silent)
    assert found.std.isfinite().all()
    normal = normalise(known, found)
    torch.testing.assert_close(
        normal.mean(dim=(0, 1)), torch.full((16,), OFFSET), rtol=0, atol=0.1
    )
    assert (normal > 0).float().mean() > 0.99


def test_a_channel_that_never_changes_does_no_harm(silent) -> None:
    tokens = torch.randn(2, 256, 384, generator=torch.Generator().manual_seed(0))
    tokens[..., 7] = 4
    normal = normalise(tokens, measure('dinov2_small', Rows(tokens), np.arange(2), silent))
    assert normal.isfinite().all()
    assert normal[..., 7].abs().max() < 1


def test_no_truth_at_all_is_a_mistake(silent) -> None:
    with pytest.raises(ParameterError, match='no picture to learn from has a depth'):
        measure('depth', Rows(torch.full((2, 256, 16), torch.nan)), np.arange(2), silent)


def test_the_files_are_those_that_decoders_read(tmp_path, silent) -> None:
    made = measure('depth', Rows(torch.rand(2, 256, 16) + 1), np.arange(2), silent)
    for name, content in statistics.files_of('depth', made).items():
        assert np.load(io.BytesIO(content)).dtype == np.float32
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    found = read_statistics(tmp_path, 'depth')
    assert torch.equal(found.mean, made.mean)
    assert torch.equal(found.std, made.std)
