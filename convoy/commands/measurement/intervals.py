"""Confidence intervals of medians."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def of_median(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the median of *values*, from 10,000 seeded bootstrap samples."""
    # Timings are skewed, so that no normal distribution gives an interval; resampling needs none.
    samples = np.random.default_rng(0).choice(values, (10_000, len(values)))
    low, high = np.percentile(np.median(samples, axis=1), [2.5, 97.5])
    return float(low), float(high)
