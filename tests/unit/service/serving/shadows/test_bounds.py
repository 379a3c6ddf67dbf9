"""Each bound of a promotion refuses by itself, and says by how much."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from convoy.service.errors import InvalidArgumentError
from convoy.service.serving.shadows.bounds import Bounds
from convoy.service.serving.shadows.comparison import Comparison


def compared(
    images: int = 1000, *, agreed: int = 1000, failed: int = 0, runs: int = 200, ratio: float = 1.0
) -> Comparison:
    """Return a comparison of so many images and runs."""
    comparison = Comparison()
    serving = np.tile([1.0, 0.0], (images, 1))
    shadow = np.where(np.arange(images)[:, None] < agreed, serving, serving[:, ::-1])
    comparison.add(serving, shadow, is_multi_label=False)
    comparison.failed = failed
    for _ in range(runs):
        comparison.add_runs(0.01, 0.01 * ratio)
    return comparison


def test_met() -> None:
    """
    A version that answers alike, at the same speed, is promoted by the defaults.
    """
    assert Bounds().unmet(compared()) == []


@pytest.mark.parametrize(
    ("comparison", "sentence"),
    [
        (compared(999, agreed=999), "min_images: 999 of 1000 images were compared"),
        # 0.96 would do; 1,000 images do not prove it.
        (
            compared(agreed=960),
            "min_agreement: 0.9600 of 1000 images agree, at least 0.9460 with 95 % confidence, and "
            "0.95 is required",
        ),
        (
            compared(failed=5),
            "max_failures: 0.0050 of 1005 images failed, at most 0.0116 with 95 % confidence, and "
            "0.01 is allowed",
        ),
        (
            compared(runs=99),
            "max_p99_ratio: 99 requests ran alone on both versions, and a 99th percentile needs "
            "100; wait, or allow any duration with 0",
        ),
        (
            compared(ratio=2.0),
            "max_p99_ratio: the 99th percentile of a run is 20 ms, 2.01 times the 9.98 ms of the "
            "version that serves, and 1.5 times is allowed",
        ),
    ],
)
def test_unmet(comparison: Comparison, sentence: str) -> None:
    """
    The bound that is not met is named, with the numbers.
    """
    assert Bounds().unmet(comparison) == [sentence]


def test_several_unmet() -> None:
    """
    All of them are named; a bound that allows anything names nothing.
    """
    comparison = compared(10, agreed=0, failed=10, runs=0)
    names = [sentence.partition(":")[0] for sentence in Bounds().unmet(comparison)]
    assert names == ["min_images", "min_agreement", "max_failures", "max_p99_ratio"]
    anything = Bounds(min_images=1, min_agreement=0, max_failures=1, max_p99_ratio=0)
    assert anything.unmet(comparison) == []
    assert anything.unmet(Comparison()) == ["min_images: 0 of 1 images were compared"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_images": 0},
        {"min_agreement": -0.1},
        {"min_agreement": float("nan")},
        {"max_failures": 0},
        {"max_failures": 1.1},
        {"max_p99_ratio": float("inf")},
    ],
)
def test_ranges(wrong: dict[str, Any]) -> None:
    """
    A bound outside of its range is refused.
    """
    with pytest.raises(InvalidArgumentError, match=next(iter(wrong))):
        Bounds(**wrong)
