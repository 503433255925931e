from __future__ import annotations

from pathlib import Path

import pytest
import torch

from theia_ros import checkpoint
from theia_ros.catalog import TEACHERS
from theia_ros.engine.precision import in_precision
from theia_ros.engine.reference import pictures
from theia_ros.engine.split import example_input
from theia_ros.engine.split import export_part
from theia_ros.engine.split import part_of
from theia_ros.model import TheiaModel

ALL = ('theia', *TEACHERS)


@pytest.fixture(scope='module')
def model(tiny_folder: Path) -> TheiaModel:
    return checkpoint.load(tiny_folder)


@pytest.mark.parametrize('written_out', [False, True])
@pytest.mark.parametrize('tensor', ALL)
def test_a_part_is_exported_for_any_batch(tensor: str, written_out: bool, model) -> None:
    """The whole model: every part, as each of the compilers gets it."""
    prepared = in_precision(model, 'fp32', written_out=written_out)
    exported = export_part(prepared, tensor, 4).module()
    pixels = torch.from_numpy(pictures())
    expected = model(pixels, {'theia', tensor})
    given = pixels if tensor == 'theia' else expected['theia']
    for batch in (1, 3):
        found = exported(given[:batch])
        torch.testing.assert_close(found, expected[tensor][:batch], rtol=0, atol=2e-5)


def test_a_batch_of_one_is_exported_as_such(model: TheiaModel) -> None:
    program = export_part(model, 'theia', 1)
    assert program.example_inputs[0][0].shape == (1, 224, 224, 3)
    assert not program.range_constraints


def test_the_batch_is_bounded(model: TheiaModel) -> None:
    program = export_part(model, 'clip', 4)
    (bounds,) = program.range_constraints.values()
    assert (bounds.lower, bounds.upper) == (1, 4)
    with pytest.raises(Exception, match='4'):
        program.module()(example_input(model.config, 'clip', 5))


def test_parts_give_what_the_model_gives(model: TheiaModel) -> None:
    pixels = torch.from_numpy(pictures())
    expected = model(pixels, model.config.tensors)
    tokens = part_of(model, 'theia')(pixels)
    # The part computes what the model looks up, which differs in the last bit.
    torch.testing.assert_close(tokens, expected['theia'], rtol=0, atol=1e-5)
    for name in model.config.teachers:
        assert torch.equal(part_of(model, name)(expected['theia']), expected[name])


def test_parts_take_what_the_examples_have(model: TheiaModel) -> None:
    pixels, tokens = (example_input(model.config, name, 2) for name in ('theia', 'sam'))
    assert (pixels.shape, pixels.dtype) == ((2, 224, 224, 3), torch.uint8)
    assert (tokens.shape, tokens.dtype) == ((2, 197, 192), torch.float32)
