"""The bounds that a shadow must meet to be promoted."""

from __future__ import annotations

from dataclasses import dataclass

from convoy.service.errors import InvalidArgumentError
from convoy.service.serving.shadows.comparison import Comparison

MIN_RUNS = 100
"""Minimum number of runs of each version for an estimate of the 99th percentile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """
    The bounds of a promotion.

    A share is judged by the worse end of its 95 % interval, so that a few lucky images
    cannot promote a shadow.

    Attributes:
        min_images: Minimum number of images that both versions must have answered; at least 1.
        min_agreement: Minimum share of images with the same most probable class, in `[0, 1]`;
            0 allows any.
        max_failures: Maximum share of images that the shadow failed on, in `(0, 1]`; 1 allows any.
        max_p99_ratio: Maximum 99th percentile of the duration of the shadow's runs, relative to
            that of the version that serves; 0 allows any.

    Raises:
        InvalidArgumentError: If a bound is out of its range.
    """

    min_images: int = 1000
    min_agreement: float = 0.95
    max_failures: float = 0.01
    max_p99_ratio: float = 1.5

    def __post_init__(self) -> None:
        if self.min_images < 1:
            raise InvalidArgumentError(f"min_images is {self.min_images}; it must be at least 1")
        if not 0 <= self.min_agreement <= 1:
            raise InvalidArgumentError(
                f"min_agreement is {self.min_agreement:g}; it must be 0 to 1"
            )
        # No number of images without a failure proves a share of 0.
        if not 0 < self.max_failures <= 1:
            raise InvalidArgumentError(
                f"max_failures is {self.max_failures:g}; it must be above 0, and at most 1"
            )
        if not 0 <= self.max_p99_ratio < float("inf"):
            raise InvalidArgumentError(
                f"max_p99_ratio is {self.max_p99_ratio:g}; it must be finite, and at least 0"
            )

    def unmet(self, comparison: Comparison) -> list[str]:
        """Return a sentence for each bound that *comparison* does not meet."""
        found = (
            self._images(comparison),
            self._agreement(comparison),
            self._failures(comparison),
            self._duration(comparison),
        )
        return [sentence for sentence in found if sentence]

    def _images(self, comparison: Comparison) -> str:
        if comparison.compared >= self.min_images:
            return ""
        return f"min_images: {comparison.compared} of {self.min_images} images were compared"

    def _agreement(self, comparison: Comparison) -> str:
        found = comparison.estimates.get("agreement")
        if not found or found.low >= self.min_agreement or not self.min_agreement:
            return ""
        return (
            f"min_agreement: {found.value:.4f} of {found.count} images agree, at least "
            f"{found.low:.4f} with 95 % confidence, and {self.min_agreement:g} is required"
        )

    def _failures(self, comparison: Comparison) -> str:
        found = comparison.estimates.get("failures")
        if not found or found.high <= self.max_failures or self.max_failures == 1:
            return ""
        return (
            f"max_failures: {found.value:.4f} of {found.count} images failed, at most "
            f"{found.high:.4f} with 95 % confidence, and {self.max_failures:g} is allowed"
        )

    def _duration(self, comparison: Comparison) -> str:
        if not self.max_p99_ratio:
            return ""
        shadow = comparison.estimates.get("run_p99_seconds")
        serving = comparison.estimates.get("serving_run_p99_seconds")
        fewest = min(one.count if one else 0 for one in (shadow, serving))
        if not shadow or not serving or fewest < MIN_RUNS:
            return (
                f"max_p99_ratio: {fewest} requests ran alone on both versions, and a 99th "
                f"percentile needs {MIN_RUNS}; wait, or allow any duration with 0"
            )
        if shadow.value <= self.max_p99_ratio * serving.value:
            return ""
        return (
            f"max_p99_ratio: the 99th percentile of a run is {1000 * shadow.value:.3g} ms, "
            f"{shadow.value / serving.value:.2f} times the {1000 * serving.value:.3g} ms of the "
            f"version that serves, and {self.max_p99_ratio:g} times is allowed"
        )
