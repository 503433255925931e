from __future__ import annotations

import torch

from theia_ros.cells import class_logits
from theia_ros.cells import SIDE
from theia_ros.cells import to_maps
from theia_ros.cells import to_tokens


def test_a_token_holds_its_own_cell() -> None:
    maps = torch.arange(2 * SIDE * SIDE).view(2, SIDE, SIDE)
    tokens = to_tokens(maps)
    assert tokens.shape == (2, 256, 16)
    # The cell in row 3 and column 5 of the grid, row by row.
    assert torch.equal(tokens[1, 3 * 16 + 5].view(4, 4), maps[1, 12:16, 20:24])
    assert torch.equal(to_maps(tokens), maps)


def test_each_part_of_a_cell_has_every_class() -> None:
    tokens = torch.zeros(1, 256, 512)
    tokens[0, 7, 16 * 9 + 2] = 1  # class 9, third part of the cell
    logits = class_logits(tokens)
    assert logits.shape == (1, 256, 32, 16)
    assert logits.argmax(dim=2)[0, 7].tolist() == [0, 0, 9] + [0] * 13
