"""The comparison of two versions on the same images: counts, means and quantiles with intervals.

Only sums are kept, so that a comparison of any length takes a few kilobytes. The prediction log has
the answers themselves.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from convoy.artifact.estimates import Estimate, Z, wilson

LEAST_PROBABILITY = 1e-9
"""Lower bound of probabilities in the divergence, which would be infinite at 0."""

PRECISION = 1.01
"""Ratio of the bounds of a bin of `Quantiles`, which makes quantiles accurate to 1 %."""

Probabilities = npt.NDArray[np.float64]
"""`[N, classes]`."""


class Mean:
    """The mean of values that are not negative."""

    def __init__(self) -> None:
        self._count = 0
        self._sum = 0.0
        self._squares = 0.0

    def add(self, values: npt.NDArray[np.float64]) -> None:
        """Take `[N]` values into account."""
        self._count += len(values)
        self._sum += float(values.sum())
        self._squares += float(np.square(values).sum())

    @property
    def estimate(self) -> Estimate | None:
        """The mean; None without values."""
        if not self._count:
            return None
        mean = self._sum / self._count
        # Rounding may leave a variance slightly below 0.
        variance = max(0.0, self._squares / self._count - mean * mean)
        error = Z * math.sqrt(variance / self._count)
        return Estimate(mean, max(0.0, mean - error), mean + error, self._count)


class Quantiles:
    """The quantiles of durations, from a histogram whose bins grow by 1 %."""

    def __init__(self) -> None:
        self._bins = Counter[int]()
        self._count = 0

    def add(self, seconds: float) -> None:
        """Take a duration, above 0, into account."""
        self._bins[round(math.log(max(seconds, 1e-9), PRECISION))] += 1
        self._count += 1

    def estimate(self, share: float) -> Estimate | None:
        """
        Return a quantile, in seconds, such as the median for a *share* of 0.5.

        The interval is that of order statistics, which assumes no distribution. Without durations,
        return None.
        """
        if not self._count:
            return None
        rank = share * self._count
        error = Z * math.sqrt(rank * (1 - share))
        value, low, high = (self._at(place) for place in (rank, rank - error, rank + error))
        return Estimate(value, low, high, self._count)

    def _at(self, rank: float) -> float:
        """Return the duration at *rank*, or the nearest one if there is no such rank."""
        passed, places = 0, sorted(self._bins)
        for place in places:
            passed += self._bins[place]
            if passed >= rank:
                return float(PRECISION**place)
        return float(PRECISION ** places[-1])


class Comparison:
    """
    The answers and durations of a shadow beside those of the version that serves.

    Attributes:
        agreed: Images with the same most probable class.
        compared: Images that both versions answered.
        failed: Images that the shadow failed on.
        dropped: Images that the shadow did not run on because the device was busy.
        largest_change: The largest change in the probability of any class of any image.
    """

    def __init__(self) -> None:
        self.agreed = 0
        self.compared = 0
        self.failed = 0
        self.dropped = 0
        self.largest_change = 0.0
        self._change = Mean()
        self._divergence = Mean()
        self._runs = Quantiles()
        self._serving_runs = Quantiles()

    def add(
        self, serving: Probabilities, shadow: Probabilities, *, is_multi_label: bool
    ) -> npt.NDArray[np.bool_]:
        """
        Compare the answers to `[N]` images; return whether their most probable classes agree.

        Args:
            is_multi_label: Whether the probabilities of an image are independent of each other.
        """
        changes = np.abs(shadow - serving).max(axis=1)
        agrees: npt.NDArray[np.bool_] = serving.argmax(axis=1) == shadow.argmax(axis=1)
        self.compared += len(agrees)
        self.agreed += int(agrees.sum())
        self.largest_change = max(self.largest_change, float(changes.max()))
        self._change.add(changes)
        self._divergence.add(divergence(serving, shadow, is_multi_label=is_multi_label))
        return agrees

    def add_runs(self, serving_s: float, shadow_s: float) -> None:
        """Compare the durations, in seconds, of the runs of a request that both ran alone."""
        self._serving_runs.add(serving_s)
        self._runs.add(shadow_s)

    @property
    def estimates(self) -> Mapping[str, Estimate]:
        """The estimates that have observations, by the field names of the API."""
        ran = self.compared + self.failed
        found = {
            "agreement": _share(self.agreed, self.compared),
            "failures": _share(self.failed, ran),
            "probability_change": self._change.estimate,
            "kl_divergence": self._divergence.estimate,
            "run_p50_seconds": self._runs.estimate(0.5),
            "run_p99_seconds": self._runs.estimate(0.99),
            "serving_run_p50_seconds": self._serving_runs.estimate(0.5),
            "serving_run_p99_seconds": self._serving_runs.estimate(0.99),
        }
        return {name: estimate for name, estimate in found.items() if estimate}

    @property
    def outcomes(self) -> Mapping[str, int]:
        """The number of images by outcome."""
        return {
            "agreed": self.agreed,
            "disagreed": self.compared - self.agreed,
            "failed": self.failed,
            "dropped": self.dropped,
        }


def divergence(
    serving: Probabilities, shadow: Probabilities, *, is_multi_label: bool
) -> npt.NDArray[np.float64]:
    """
    Return the Kullback-Leibler divergence of *shadow* from *serving* for each image, in nats.

    Args:
        is_multi_label: Whether the probabilities are independent: their divergences are added up.
    """
    found = _divergence(serving, shadow)
    if is_multi_label:
        found = found + _divergence(1 - serving, 1 - shadow)
    # Probabilities of a quantised model, or clipped ones, do not sum to exactly 1.
    return np.maximum(found, 0.0)


def _divergence(p: Probabilities, q: Probabilities) -> npt.NDArray[np.float64]:
    p, q = np.maximum(p, LEAST_PROBABILITY), np.maximum(q, LEAST_PROBABILITY)
    total: npt.NDArray[np.float64] = (p * np.log(p / q)).sum(axis=1)
    return total


def _share(part: int, count: int) -> Estimate | None:
    return Estimate(part / count, *wilson(part, count), count) if count else None
