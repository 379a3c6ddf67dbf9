"""The last ten minutes of the server, as one ring of samples that all readers share.

A sample holds the changes since the one before it, encoded once. A reader asks for the samples that
it has not seen; the server keeps no state per reader.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic_core import to_json

from convoy.service.machine.resources import memory_bytes
from convoy.service.telemetry.gpu import GpuFacts
from convoy.service.telemetry.metrics import (
    BATCH_BUCKETS,
    INFERENCE_METHODS,
    LATENCY_BUCKETS_S,
    Metrics,
    ModelFacts,
)

INTERVAL_S = 2.0
"""Time between two samples, in seconds."""

LENGTH = 300
"""Number of samples in ten minutes."""

Labels = tuple[str, ...]

_Counts = dict[Labels, float]

_BY_MODEL = ("requests", "rejected", "phases", "duration", "batch_size", "images")
"""Parts of a sample whose first label is the model."""


class History:
    """
    A ring of samples, owned by the event loop.

    Args:
        models: Returns the facts of the loaded models.
        gpus: Returns the state of each GPU.
        length: Number of samples that are kept.
        processor_s: Returns the processor time of the server, in seconds.
    """

    def __init__(
        self,
        metrics: Metrics,
        models: Callable[[], Iterable[ModelFacts]],
        gpus: Callable[[], Iterable[GpuFacts]] = tuple,
        length: int = LENGTH,
        processor_s: Callable[[], float] = time.process_time,
    ) -> None:
        self._metrics = metrics
        self._models = models
        self._gpus = gpus
        self._instance = uuid.uuid4().hex
        self._length = length
        self._processor_s = processor_s
        self._samples: deque[bytes] = deque(maxlen=length)
        self._taken = 0
        self._before = self._read()

    async def keep(self) -> None:
        """Take a sample every `INTERVAL_S` seconds, until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            self.take()

    def take(self) -> None:
        """Take one sample."""
        before, self._before = self._before, self._read()
        models: dict[str, dict[str, Any]] = {}
        for facts in self._models():
            sample = models.setdefault(facts.manifest.name, {"queue_depth": 0})
            sample["queue_depth"] += facts.queue_depth
        # `_before` holds the new totals by now, `before` those of the last sample.
        for part in _BY_MODEL:
            after = self._before[part]
            for labels, change in _changes(before[part], after):
                _put(models.setdefault(labels[0], {}), (part, *labels[1:]), change)
        wait = dict(_changes(before["wait"], self._before["wait"])).get((), {})
        # A front process that has ended takes its time along.
        processor_s = max(0.0, self._before["processor"][()] - before["processor"][()])
        sample = {
            "models": models,
            "transport_wait": wait,
            "memory_bytes": memory_bytes(),
            "processor_s": round(processor_s, 6),
            "gpus": [gpu.utilization for gpu in self._gpus()],
        }
        self._samples.append(to_json(sample))
        self._taken += 1

    def since(self, number: int) -> bytes:
        """
        Return the samples from *number* on, as JSON.

        `first` is the number of the first sample in the answer, and `instance` changes when the
        server restarts. For each model, a sample holds `queue_depth` and the changes since the
        sample before: `requests` by gRPC code, `rejected` by reason, and `phases`, `duration` (the
        handler) and `batch_size` as observations by the index of their bucket, and the `images`
        that were run. `transport_wait` has the same form, and is of all models together.
        `processor_s` is the processor time of the server, and `gpus` the utilization of each GPU.
        """
        oldest = self._taken - len(self._samples)
        # A number that is too old, or that this instance has not reached, gets all samples.
        first = number if oldest <= number <= self._taken else oldest
        head = {
            "instance": self._instance,
            "interval_s": INTERVAL_S,
            "length": self._length,
            "latency_buckets_s": LATENCY_BUCKETS_S,
            "batch_buckets": BATCH_BUCKETS,
            "first": first,
        }
        samples = b",".join(list(self._samples)[first - oldest :])
        # Each sample is JSON already: only the head is encoded here.
        return to_json(head)[:-1] + b',"samples":[' + samples + b"]}"

    def _read(self) -> dict[str, Mapping[Labels, Any]]:
        """Return everything that only grows, by model and further labels."""
        metrics = self._metrics
        requests: _Counts = {}
        for (model, method, code), count in metrics.requests.counts.items():
            # The page shows inference only, summed over methods.
            if method in INFERENCE_METHODS:
                requests[model, code] = requests.get((model, code), 0) + count
        return {
            "processor": {(): self._processor_s()},
            "wait": {(): metrics.transport_wait.counts.copy()},
            "requests": requests,
            "rejected": dict(metrics.rejected.counts),
            "phases": metrics.phase_duration.counts(),
            "duration": metrics.request_duration.counts(),
            "batch_size": metrics.batch_size.counts(),
            "images": metrics.batch_size.sums(),
        }


def _changes(
    before: Mapping[Labels, Any], after: Mapping[Labels, Any]
) -> Iterable[tuple[Labels, Any]]:
    """Yield the increases: a number, or for buckets the increase of each, by its index."""
    for labels, value in after.items():
        old = before.get(labels)
        if value == old:  # nothing happened: leave it out
            continue
        if isinstance(value, Sequence):  # the counts of a histogram's buckets
            old = old or [0] * len(value)
            pairs = enumerate(zip(value, old, strict=True))
            yield labels, {index: new - past for index, (new, past) in pairs if new != past}
        else:
            yield labels, value - (old or 0)


def _put(tree: dict[str, Any], path: Labels, value: Any) -> None:
    *parts, last = path
    for part in parts:
        tree = tree.setdefault(part, {})
    tree[last] = value
