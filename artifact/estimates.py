"""Confidence intervals of shares, means and quantiles."""

from __future__ import annotations

import math
from dataclasses import dataclass

Z = 1.96
"""Half the width of the central 95 % of a normal distribution, in standard deviations."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value, its 95 % interval, and the number of observations behind it."""

    value: float
    low: float
    high: float
    count: int


def wilson(correct: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of *correct* / *count* (Wilson, 1927), in `[0, 1]`; *count* > 0."""
    # Unlike share ± error, this interval stays within [0, 1] except for rounding.
    z, share = Z, correct / count
    centre = share + z * z / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
