"""Confidence intervals."""

from __future__ import annotations

import math

from convoy.artifact.estimates import wilson


def test_intervals_of_extreme_shares_do_not_leave_the_unit_interval() -> None:
    """
    No rounding takes an end out of it: a table would show -0.00 % otherwise.
    """
    for count in range(1, 2000):
        low, high = wilson(0, count)
        assert math.copysign(1, low) == 1
        assert 0 <= low < high < 1
        low, high = wilson(count, count)
        assert 0 < low < high <= 1
