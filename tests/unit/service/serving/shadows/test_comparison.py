"""Two versions are compared by sums, whose intervals hold."""

from __future__ import annotations

import numpy as np
import pytest

from convoy.service.serving.shadows.comparison import Comparison, Mean, Quantiles, divergence


def _row(*values: float) -> np.ndarray:
    return np.array([values])


def test_answers() -> None:
    """
    Agreement, largest change and divergence of single images.
    """
    comparison = Comparison()
    assert comparison.estimates == {}
    serving = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
    shadow = np.array([[0.5, 0.2, 0.3], [0.1, 0.7, 0.2]])
    agrees = comparison.add(serving, shadow, is_multi_label=False)
    assert agrees.tolist() == [True, False]
    assert comparison.largest_change == pytest.approx(0.4)
    found = comparison.estimates
    assert (found["agreement"].value, found["agreement"].count) == (0.5, 2)
    assert found["probability_change"].value == pytest.approx((0.1 + 0.4) / 2)
    assert "run_p99_seconds" not in found
    comparison.failed = 2
    assert (comparison.estimates["failures"].value, comparison.estimates["failures"].count) == (
        0.5,
        4,
    )
    assert comparison.outcomes == {"agreed": 1, "disagreed": 1, "failed": 2, "dropped": 0}


def test_divergence() -> None:
    """
    In nats, finite for impossible classes, and added up where classes are independent.
    """
    even = _row(0.5, 0.5)
    assert divergence(even, even, is_multi_label=False) == pytest.approx(0.0)
    assert divergence(_row(1.0, 0.0), even, is_multi_label=False) == pytest.approx(np.log(2))
    assert divergence(even, _row(1.0, 0.0), is_multi_label=False) == pytest.approx(
        0.5 * np.log(0.5) + 0.5 * np.log(0.5 / 1e-9)
    )
    # The same two independent classes, one of which is certain in the first version.
    assert divergence(_row(1.0, 0.5), even, is_multi_label=True) == pytest.approx(
        np.log(2), abs=1e-6
    )


def test_intervals_hold() -> None:
    """
    The intervals hold the true mean, median and 99th percentile in about 95 % of 300 experiments.
    """
    random = np.random.default_rng(0)
    held = {"mean": 0, "p50": 0, "p99": 0}
    true = {"mean": 1.0, "p50": np.log(2), "p99": np.log(100)}
    for _ in range(300):
        values = random.exponential(size=2000)
        mean, quantiles = Mean(), Quantiles()
        mean.add(values)
        for value in values.tolist():
            quantiles.add(value)
        found = {
            "mean": mean.estimate,
            "p50": quantiles.estimate(0.5),
            "p99": quantiles.estimate(0.99),
        }
        for name, estimate in found.items():
            assert estimate is not None
            assert estimate.low <= estimate.value <= estimate.high
            assert estimate.count == 2000
            # The bins are 1 % wide.
            held[name] += estimate.low * 0.99 <= true[name] <= estimate.high * 1.01
    assert all(0.92 < count / 300 <= 1 for count in held.values()), held


def test_few_values() -> None:
    """
    One duration is every quantile; none is no estimate.
    """
    quantiles = Quantiles()
    assert quantiles.estimate(0.99) is None
    quantiles.add(0.02)
    found = quantiles.estimate(0.99)
    assert found is not None
    assert found.low == found.value == found.high == pytest.approx(0.02, rel=0.01)
