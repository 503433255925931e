from __future__ import annotations

import numpy as np

from theia_ros.decoders.numbering import colours
from theia_ros.decoders.numbering import FORGET
from theia_ros.decoders.numbering import Numbering
from theia_ros.decoders.numbering import PALETTE

CUP, PLATE, FORK = [10, 10, 40, 40], [60, 20, 160, 120], [180, 30, 190, 130]


def number(numbering, *corners):
    return numbering.number(np.array(corners, dtype=np.int64).reshape(-1, 4)).tolist()


def test_numbers_begin_at_one():
    assert number(Numbering(), CUP, PLATE, FORK) == [1, 2, 3]
    assert number(Numbering()) == []


def test_the_order_of_the_masks_does_not_matter():
    numbering = Numbering()
    assert number(numbering, CUP, PLATE, FORK) == [1, 2, 3]
    assert number(numbering, FORK, CUP, PLATE) == [3, 1, 2]


def test_things_may_move():
    numbering = Numbering()
    number(numbering, PLATE, CUP)
    for step in range(20):
        moved = [CUP[0] + 5 * step, CUP[1], CUP[2] + 5 * step, CUP[3]]
        assert number(numbering, moved, PLATE) == [2, 1]


def test_a_new_thing_takes_a_free_number():
    numbering = Numbering()
    number(numbering, CUP, PLATE)
    assert number(numbering, FORK, PLATE) == [3, 2]  # 1 is kept for the cup


def test_a_thing_that_was_missed_finds_its_number_again():
    numbering = Numbering()
    number(numbering, CUP, PLATE)
    for _ in range(FORGET):
        number(numbering, PLATE)
    assert number(numbering, FORK, PLATE, CUP) == [3, 2, 1]


def test_numbers_of_what_is_gone_are_given_again():
    numbering = Numbering()
    number(numbering, CUP, PLATE)
    for _ in range(FORGET + 1):
        number(numbering, PLATE)
    assert number(numbering, PLATE, FORK) == [2, 1]
    for step in range(1000):  # the memory does not grow
        number(numbering, [step * 50, 0, step * 50 + 9, 9])
    assert len(numbering._numbers) == FORGET + 1
    assert numbering._numbers.max() <= FORGET + 3


def test_the_better_overlap_wins():
    numbering = Numbering()
    number(numbering, [0, 0, 100, 100], [0, 0, 100, 60])
    assert number(numbering, [0, 0, 100, 64], [0, 0, 100, 101]) == [2, 1]


def test_a_mask_without_area_gets_a_number():
    assert number(Numbering(), [3, 3, 3, 9], [3, 3, 3, 9]) == [1, 2]


def test_colours_are_fixed_and_differ():
    assert PALETTE[0].tolist() == [0, 0, 0]
    assert PALETTE[1:].max(axis=1).min() > 150  # none is near black
    shades = PALETTE[1:13].astype(int)
    distances = np.abs(shades[:, None] - shades[None]).sum(axis=-1)
    assert distances[~np.eye(12, dtype=bool)].min() > 60
    assert len(np.unique(PALETTE, axis=0)) == 256


def test_colours_repeat_without_black():
    labels = np.array([[0, 1, 255], [256, 511, 65535]], dtype=np.uint16)
    found = colours(labels)
    assert found.shape == (2, 3, 3)
    assert found[0, 1].tolist() == found[1, 0].tolist() == PALETTE[1].tolist()
    assert found[1, 1].tolist() == PALETTE[1].tolist()
    assert found[0, 0].tolist() == [0, 0, 0]
    assert found[1, 2].any()
