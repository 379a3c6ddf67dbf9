"""Drift: how far requests differ from the baseline of their model.

The signals of some requests (`signal_counter.py`) are counted in sliding windows. The population
stability index of each signal and window is a metric.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from threading import Lock
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from convoy.artifact.baseline import CLASS, MIN_IMAGES, Baseline, Counts, stability_index
from convoy.service.call import Model
from convoy.service.serving.monitoring.signal_counter import SignalCounts
from convoy.service.telemetry.metrics import DriftCount, DriftIndex

SLOTS = 15
"""Parts of a window, which leave it one after the other."""


class _Slot(NamedTuple):
    """The counts by signal from a time on, in seconds on the monotonic clock."""

    begins_at: float
    counts: defaultdict[str, Counts]


class Window:
    """
    The counts of the last *seconds*, to a fifteenth of them.

    Args:
        sizes: Number of bins by signal.
    """

    def __init__(self, seconds: float, sizes: dict[str, int]) -> None:
        self.seconds = seconds
        self._sizes = sizes
        self._slots: deque[_Slot] = deque()

    def add(self, signal: str, counts: Counts, now: float) -> None:
        """Add the counts of some images."""
        self._drop_old(now)
        if not self._slots or now >= self._slots[-1].begins_at + self.seconds / SLOTS:
            self._slots.append(_Slot(now, defaultdict(lambda: np.zeros(0, np.int64))))
        last = self._slots[-1].counts
        last[signal] = last[signal] + counts if signal in last else counts

    def total(self, signal: str, now: float) -> Counts:
        """Return the counts of the window that ends *now*: int64 `[bins]`."""
        self._drop_old(now)
        found = [slot.counts[signal] for slot in self._slots if signal in slot.counts]
        return np.sum(found, axis=0) if found else np.zeros(self._sizes[signal], np.int64)

    def _drop_old(self, now: float) -> None:
        while self._slots and self._slots[0].begins_at <= now - self.seconds:
            self._slots.popleft()


class _Watched:
    """The counts of one version, in each window and since it was loaded."""

    def __init__(self, baseline: Baseline, windows_s: Sequence[float]) -> None:
        self.baseline = baseline
        sizes = {name: len(one.counts) for name, one in baseline.signals.items()}
        self.windows = [Window(seconds, sizes) for seconds in windows_s]
        self.totals = {name: np.zeros(size, np.int64) for name, size in sizes.items()}

    def add(self, counts: SignalCounts, now: float) -> None:
        """Add the counts of some images."""
        for signal, images in counts.items():
            self.totals[signal] = self.totals[signal] + images
            for window in self.windows:
                window.add(signal, images, now)


class Drift:
    """
    Compares requests with the baselines of their models.

    Args:
        windows_s: The lengths of the windows, in seconds.
        clock: Returns the time, in seconds.
    """

    def __init__(
        self, windows_s: Sequence[float], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._windows_s = windows_s
        self._clock = clock
        # An unloaded version leaves with its model.
        self._models: WeakKeyDictionary[Model, _Watched] = WeakKeyDictionary()
        self._lock = Lock()

    def add(self, model: Model, counts: SignalCounts) -> None:
        """Add the counts of some images of a model that has a baseline; safe in any thread."""
        assert model.baseline is not None
        with self._lock:
            watched = self._models.get(model)
            if watched is None:
                watched = self._models[model] = _Watched(model.baseline, self._windows_s)
            watched.add(counts, self._clock())

    def indices(self) -> Iterator[DriftIndex]:
        """Yield the index of each signal and window that has enough images."""
        now = self._clock()
        for model, watched in self._snapshot():
            for window in watched.windows:
                for signal, expected in watched.baseline.signals.items():
                    with self._lock:  # a scrape has a thread of its own
                        found = window.total(signal, now)
                    if found.sum() >= MIN_IMAGES:
                        index = stability_index(expected.counts, found)
                        yield DriftIndex(model.name, model.version, signal, window.seconds, index)

    def counts(self) -> Iterator[DriftCount]:
        """Yield the images in each bin since the version was loaded."""
        for model, watched in self._snapshot():
            for signal, counts in watched.totals.items():
                names = _bins(signal, watched.baseline, model)
                for name, count in zip(names, counts.tolist(), strict=True):
                    yield DriftCount(model.name, model.version, signal, name, count)

    def _snapshot(self) -> list[tuple[Model, _Watched]]:
        with self._lock:
            return list(self._models.items())


def _bins(signal: str, baseline: Baseline, model: Model) -> list[str]:
    """Return the names of a signal's bins: classes, or upper bounds."""
    edges = baseline.signals[signal].edges
    if signal == CLASS:
        labels = model.manifest.labels
        names = [*(labels[int(edge)] for edge in edges), "others"]
        # Labels need not be unique, and one may be `others`.
        if len({*names}) < len(names):
            names = [*(f"{labels[int(edge)]} ({int(edge)})" for edge in edges), "others"]
        return names
    bounds = [f"{edge:.6g}" for edge in edges]
    # A frequent value has a bin of its own, whose edges differ only in the last digit.
    if len({*bounds}) < len(bounds):
        bounds = [repr(edge) for edge in edges]
    return [*(f"<{bound}" for bound in bounds), f">={bounds[-1]}" if bounds else "all"]
