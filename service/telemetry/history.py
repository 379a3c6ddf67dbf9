"""The last ten minutes of the server: one ring of samples, which everyone who looks shares.

A sample is what changed since the one before it, encoded once. Who looks asks for the samples that
it has not seen; the server knows nothing of who looks.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic_core import to_json

from convoy.service.resources import memory_bytes
from convoy.service.telemetry.metrics import (
    BATCH_BUCKETS,
    INFERENCE_METHODS,
    LATENCY_BUCKETS_S,
    Metrics,
    ModelFacts,
)

INTERVAL_S = 2.0
"""Between two samples."""

LENGTH = 300
"""Samples that are kept: ten minutes of them."""

Labels = tuple[str, ...]

_Counts = dict[Labels, float]


class History:
    """
    The ring. Owned by the event loop.

    Args:
        models: What is told of the models that are loaded.
    """

    def __init__(self, metrics: Metrics, models: Callable[[], Iterable[ModelFacts]]) -> None:
        self._metrics = metrics
        self._models = models
        self._instance = uuid.uuid4().hex
        self._samples: deque[bytes] = deque(maxlen=LENGTH)
        self._taken = 0
        self._before = self._read()

    async def keep(self) -> None:
        """Take samples for ever."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            self.take()

    def take(self) -> None:
        """Take one sample."""
        before, self._before = self._before, self._read()
        models: dict[str, dict[str, Any]] = {}
        for facts in self._models():
            told = models.setdefault(facts.manifest.name, {"queue_depth": 0})
            told["queue_depth"] += facts.queue_depth
        for part, after in self._before.items():
            for labels, change in _changes(before[part], after):
                _put(models.setdefault(labels[0], {}), (part, *labels[1:]), change)
        self._samples.append(to_json({"models": models, "memory_bytes": memory_bytes()}))
        self._taken += 1

    def since(self, number: int) -> bytes:
        """
        Tell the samples from *number* on, as JSON.

        `first` is the number of the first one that is told, `instance` changes when the server
        starts anew. Of each model a sample holds `queue_depth`, and what happened since the sample
        before: `requests` by gRPC code, `rejected` by reason, `phases` (and `duration`, the whole)
        and `batch_size` as observations by the index of the bucket.
        """
        oldest = self._taken - len(self._samples)
        first = number if oldest <= number <= self._taken else oldest
        head = {
            "instance": self._instance,
            "interval_s": INTERVAL_S,
            "length": LENGTH,
            "latency_buckets_s": LATENCY_BUCKETS_S,
            "batch_buckets": BATCH_BUCKETS,
            "first": first,
        }
        told = b",".join(list(self._samples)[first - oldest :])
        return to_json(head)[:-1] + b',"samples":[' + told + b"]}"

    def _read(self) -> dict[str, Mapping[Labels, Any]]:
        """Everything that only grows, by the model and what else it is split by."""
        metrics = self._metrics
        requests: _Counts = {}
        for (model, method, code), count in metrics.requests.counts.items():
            if method in INFERENCE_METHODS:
                requests[model, code] = requests.get((model, code), 0) + count
        return {
            "requests": requests,
            "rejected": dict(metrics.rejected.counts),
            "phases": metrics.phase_duration.counts(),
            "duration": metrics.request_duration.counts(),
            "batch_size": metrics.batch_size.counts(),
        }


def _changes(
    before: Mapping[Labels, Any], after: Mapping[Labels, Any]
) -> Iterable[tuple[Labels, Any]]:
    """What is more than before: a number, or of buckets those that have more, by their index."""
    for labels, value in after.items():
        old = before.get(labels)
        if value == old:
            continue
        if isinstance(value, Sequence):
            old = old or [0] * len(value)
            pairs = enumerate(zip(value, old, strict=True))
            yield labels, {index: new - past for index, (new, past) in pairs if new != past}
        else:
            yield labels, value - (old or 0)


def _put(told: dict[str, Any], path: Labels, value: Any) -> None:
    *parts, last = path
    for part in parts:
        told = told.setdefault(part, {})
    told[last] = value
