"""Confidence intervals of shares and medians."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def wilson(correct: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of the share *correct* / *count* (Wilson, 1927), in `[0, 1]`."""
    # 1.96 standard deviations hold 95 %. Unlike share +- error, the interval stays in [0, 1].
    z, share = 1.96, correct / count
    centre = share + z * z / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return (centre - spread) / scale, (centre + spread) / scale


def of_median(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the median of *values*, from 10,000 seeded bootstrap samples."""
    # Timings are skewed, so that no normal distribution gives an interval; resampling needs none.
    samples = np.random.default_rng(0).choice(values, (10_000, len(values)))
    low, high = np.percentile(np.median(samples, axis=1), [2.5, 97.5])
    return float(low), float(high)
