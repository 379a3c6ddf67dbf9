"""Intact JPEGs are decoded, and damaged ones are refused, or accepted with nearly all pixels."""

import random
from functools import partial

import numpy as np
import pytest

from tests.fuzz.damage import Case, attack, damaged, intact, is_fault, outcome, wrong_share
from tests.fuzz.jpegs import CONTENTS, REGULAR, photograph, sound


@pytest.mark.parametrize("contents", [CONTENTS, REGULAR], ids=["all", "regular"])
def test_intact_images_are_decoded(contents: tuple[object, ...]) -> None:
    """
    Images of any content, encoder and oddity are decoded to Pillow's pixels.
    """
    outcomes, faults = attack(3, {intact: 250}, partial(sound, contents=contents))
    assert faults == []
    assert outcomes == {"intact: right": 250}


def test_no_photograph_is_accepted_with_wrong_pixels() -> None:
    """
    None of 1,000 photographs that were cut, closed again or zeroed in parts is answered wrongly.
    """
    outcomes, faults = attack(1, {damaged: 1000}, partial(sound, contents=(photograph,)))
    assert faults == []
    refused = sum(count for result, count in outcomes.items() if result.endswith("refused"))
    assert outcomes.total() == 1000
    assert refused > 900


def test_regular_images() -> None:
    """
    Damaged images with flat areas, whose sound data hold zeros, are not answered wrongly.
    """
    outcomes, faults = attack(2, {damaged: 1000}, partial(sound, contents=REGULAR))
    assert faults == []
    assert outcomes.total() == 1000


def test_same_seed_same_images() -> None:
    """
    A campaign can be repeated.
    """
    assert sound(random.Random(3)) == sound(random.Random(3))


def test_faults_are_noticed() -> None:
    """
    An image that is not the sound one is a fault, so that the campaign can fail.
    """
    case = intact(random.Random(4))
    other = Case(case.data, case.pixels ^ 255, "zeros")
    assert outcome(case) == "right"
    assert not is_fault(case, "right")
    assert is_fault(case, "refused")
    assert wrong_share(other.pixels, case.pixels) > 0.5
    assert wrong_share(np.zeros((1, 1)), case.pixels) == 1
    assert is_fault(other, "wrong")
