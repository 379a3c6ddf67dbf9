"""Counts of the signals of requests, in the bins of their model's baseline.

A thread counts a limited number of images per second; no request is kept.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

import numpy as np

from convoy.artifact import signals
from convoy.artifact.baseline import Counts
from convoy.artifact.golden import as_scores
from convoy.service.call import Call, Model
from convoy.service.errors import ServiceError
from convoy.service.serving.monitoring.worker import Finished, Worker

MAX_IMAGES_PER_S = 100
"""
Limit on the images of a model that a process counts per second.

A window of 15 minutes then holds up to 90,000 images, far more than the index needs.
"""

SignalCounts = dict[str, Counts]
"""Images by signal: int64 `[bins]` each."""


class _Rate:
    """The number of images of a model that were counted in the current second."""

    def __init__(self) -> None:
        self._second = 0
        self._images = 0

    def may_count(self, images: int, now: float) -> bool:
        """Return whether that many images may be counted at *now*, a time in seconds."""
        if int(now) != self._second:
            self._second, self._images = int(now), 0
        self._images += images
        return self._images - images < MAX_IMAGES_PER_S


class SignalCounter:
    """
    Counts the signals of requests that were answered.

    Args:
        counted: Called in the counting thread with a model and the counts of some requests.
    """

    def __init__(self, counted: Callable[[Model, SignalCounts], None]) -> None:
        self._counted = counted
        # Keys are weak, so that an unloaded model is forgotten.
        self._rates: WeakKeyDictionary[Model, _Rate] = WeakKeyDictionary()
        # Images are counted together: one by one, each would cost as much as a small network.
        self._kept: defaultdict[Model, list[Call]] = defaultdict(list)
        self._worker = Worker("drift", self._keep, after_round=self._count)

    def observe(self, call: Call, model: Model, failure: ServiceError | None) -> None:
        """Keep a request that was answered, for the next round; called on the event loop."""
        if model.baseline is None or failure is not None or not call.outputs:
            return
        rate = self._rates.get(model)
        if rate is None:
            rate = self._rates[model] = _Rate()
        if rate.may_count(call.images, time.monotonic()):
            self._worker.put(call, model, None)

    def close(self, timeout_s: float = 0.0) -> None:
        """Count the requests that are kept for at most *timeout_s*, and stop."""
        self._worker.close(timeout_s)

    def _keep(self, finished: Finished) -> None:
        self._kept[finished.model].append(finished.call)

    def _count(self) -> None:
        """Count the requests of a round."""
        kept, self._kept = self._kept, defaultdict(list)
        for model, calls in kept.items():
            baseline = model.baseline
            assert baseline is not None
            counts = {
                # A baseline of tensors, or of an older convoy, may lack a signal.
                signal: histogram.count(signal, values)
                for signal, values in _signals(model, calls).items()
                if (histogram := baseline.signals.get(signal))
            }
            self._counted(model, counts)


def _signals(model: Model, calls: Sequence[Call]) -> dict[str, np.ndarray]:
    manifest = model.manifest
    return signals.of_answers(
        np.concatenate([as_scores(call.outputs[manifest.scores.name]) for call in calls]),
        [call.item for call in calls],
        [image for call in calls for image in call.encoded],
        manifest,
    )
