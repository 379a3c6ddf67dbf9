"""What one version of a model has done since it was loaded, split as Triton splits it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from convoy.service.runtime.runs import BatchTimes


@dataclass(slots=True)
class Duration:
    """How often something happened, and how long it took in sum, in seconds."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one occurrence."""
        self.count += 1
        self.seconds += seconds


@dataclass(slots=True)
class BatchStatistics:
    """What the batches of one size took: joining tensors, running, cutting up the outputs."""

    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)


@dataclass(slots=True)
class Statistics:
    """
    Counters of one version of a model.

    The event loop counts requests, the device's threads count batches, one at a time.

    Attributes:
        answers: Requests that were answered.
        total_s: Their time, arrival to answer, in seconds; what follows are parts of it.
        queue_s: Waiting for the device.
        input_s: Decoding images and joining tensors.
        infer_s: Running the graph.
        output_s: From the outputs to the finished answer.
        fail: Requests that failed after they were accepted.
        inference_count: Images that were answered.
        execution_count: Batches that were run.
        last_inference_ms: When the last request was answered, in milliseconds since 1970; 0 if
            none was.
        batches: What the batches took, by their number of images.
    """

    answers: int = 0
    total_s: float = 0.0
    queue_s: float = 0.0
    input_s: float = 0.0
    infer_s: float = 0.0
    output_s: float = 0.0
    fail: Duration = field(default_factory=Duration)
    inference_count: int = 0
    execution_count: int = 0
    last_inference_ms: int = 0
    batches: dict[int, BatchStatistics] = field(default_factory=dict)

    def ran(self, size: int, times: BatchTimes) -> None:
        """Count a batch of *size* images."""
        if (batch := self.batches.get(size)) is None:
            batch = self.batches[size] = BatchStatistics()
        batch.compute_input.add(times.input_s)
        batch.compute_infer.add(times.infer_s)
        batch.compute_output.add(times.output_s)
        self.execution_count += 1

    def answered(
        self,
        images: int,
        *,
        total_s: float,
        decode_s: float,
        queue_s: float,
        respond_s: float,
        times: BatchTimes,
    ) -> None:
        """Count a request that was answered."""
        self.answers += 1
        self.total_s += total_s
        self.queue_s += queue_s
        self.input_s += decode_s + times.input_s
        self.infer_s += times.infer_s
        self.output_s += times.output_s + respond_s
        self.inference_count += images
        self.last_inference_ms = time.time_ns() // 1_000_000
