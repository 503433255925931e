from __future__ import annotations

import hashlib
from pathlib import Path
from unittest.mock import patch

import torch
from helpers import synthetic

from theia_ros.engine.reference import pictures
from theia_ros.engine.reference import reference
from theia_ros.engine.source import Source
from theia_ros.model import TheiaModel
from theia_ros.params import EncoderParams

PICTURES_SHA256 = 'efaf3e8e356aef6aa7f40220c8c9e444d6a67033b9efee85aae219b52e01504a'


def test_the_pictures_are_the_same_everywhere() -> None:
    found = pictures()
    assert (found.shape, found.dtype.name) == ((3, 224, 224, 3), 'uint8')
    assert hashlib.sha256(found.tobytes()).hexdigest() == PICTURES_SHA256
    assert all(len(set(picture.reshape(-1).tolist())) > 20 for picture in found)


def test_it_is_what_the_model_gives_and_computed_once(tmp_path: Path) -> None:
    folder = synthetic.write_model(tmp_path / 'model', teachers=('clip',))
    params = EncoderParams(model=str(folder), engine_cache=str(tmp_path / 'engines'))
    told: list[str] = []
    first = reference(Source(params.model), params, told.append)
    assert told == ['reference: building, none is stored yet']
    expected = Source(params.model).model(torch.from_numpy(pictures()), ['theia', 'clip'])
    assert first.keys() == expected.keys()
    with patch.object(TheiaModel, 'forward', side_effect=AssertionError):
        stored = reference(Source(params.model), params, told.append)
    assert len(told) == 1
    for name, tensor in expected.items():
        assert torch.equal(first[name], tensor), name
        assert torch.equal(stored[name], tensor), name
