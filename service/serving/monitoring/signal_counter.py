"""Counts of the signals of requests, in the bins of their model's baseline.

A thread counts a limited number of images per second; no request is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable
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
        counted: Called in the counting thread with a model and the counts of one request.
    """

    def __init__(self, counted: Callable[[Model, SignalCounts], None]) -> None:
        self._counted = counted
        # Keys are weak, so that an unloaded model is forgotten.
        self._rates: WeakKeyDictionary[Model, _Rate] = WeakKeyDictionary()
        self._worker = Worker("drift", self._count)

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

    def _count(self, finished: Finished) -> None:
        baseline = finished.model.baseline
        assert baseline is not None
        self._counted(
            finished.model,
            {
                # A baseline of tensors, or of an older convoy, may lack a signal.
                signal: histogram.count(signal, values)
                for signal, values in _signals(finished).items()
                if (histogram := baseline.signals.get(signal))
            },
        )


def _signals(finished: Finished) -> dict[str, np.ndarray]:
    call, manifest = finished.call, finished.model.manifest
    scores = as_scores(call.outputs[manifest.scores.name])
    finite = scores[np.isfinite(scores).all(axis=1)]
    return {
        **signals.of_scores(finite, manifest.scores.kind),
        **signals.of_inputs(call.item, manifest.input, manifest.normalization),
        **signals.of_headers(call.encoded),
    }
