"""How long a run takes, by its number of images: from the runs that were seen."""

from __future__ import annotations

from bisect import bisect_left, insort

_FASTER_WEIGHT = 0.5
_SLOWER_WEIGHT = 0.1


class LatencyTable:
    """
    Seconds of a run, by its number of images.

    Leans to the fast side: a run that was faster than expected counts more than a slower one. A
    request is refused on this table's word, so one hiccup must not turn many away.
    """

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._seconds: dict[int, float] = {}

    def add(self, size: int, seconds: float) -> None:
        """Take a run of *size* images into account."""
        if size not in self._seconds:
            insort(self._sizes, size)
            self._seconds[size] = seconds
            return
        known = self._seconds[size]
        weight = _FASTER_WEIGHT if seconds < known else _SLOWER_WEIGHT
        self._seconds[size] = known + weight * (seconds - known)

    def run_s(self, size: int) -> float:
        """
        Expect a run of *size* images to take so long, in seconds; 0 if nothing is known.

        Between sizes that were seen it is interpolated; beyond the largest, in proportion.
        """
        if not self._sizes:
            return 0.0
        place = bisect_left(self._sizes, size)
        if place == len(self._sizes):
            largest = self._sizes[-1]
            return self._seconds[largest] * size / largest
        upper = self._sizes[place]
        if upper == size or place == 0:
            return self._seconds[upper]
        lower = self._sizes[place - 1]
        share = (size - lower) / (upper - lower)
        return self._seconds[lower] + share * (self._seconds[upper] - self._seconds[lower])

    def relax(self) -> None:
        """
        Expect a little less from now on.

        For a device that refuses and has nothing else to do: it would learn no better otherwise.
        """
        for size in self._sizes:
            self._seconds[size] *= 0.9
