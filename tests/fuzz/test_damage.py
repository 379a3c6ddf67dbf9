"""Damaged JPEGs are refused, or accepted with nearly all of their pixels."""

import random

import numpy as np

from tests.fuzz.damage import Damaged, attack, encoded, wrong_share


def test_none_is_accepted_with_wrong_pixels() -> None:
    """
    None of 1,000 images that were cut, closed again or zeroed in parts is answered wrongly.
    """
    outcomes, faults = attack(seed=1, count=1000)
    assert faults == []
    refused = sum(count for outcome, count in outcomes.items() if outcome.endswith("refused"))
    assert outcomes.total() == 1000
    assert refused > 900


def test_same_seed_same_images() -> None:
    """
    A campaign can be repeated.
    """
    assert encoded(random.Random(3)) == encoded(random.Random(3))


def test_wrong_pixels_are_counted() -> None:
    """
    An image that is not the sound one counts as wrong, so that the campaign can fail.
    """
    data = encoded(random.Random(4))
    size = wrong_share(Damaged(data, np.zeros(1), "none"))
    assert size is not None
    assert size > 0.5
