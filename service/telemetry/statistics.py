"""The statistics of one version of a model since it was loaded, split as Triton splits them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Duration:
    """The number of times that something happened, and its total time in seconds."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one occurrence."""
        self.count += 1
        self.seconds += seconds


@dataclass(slots=True)
class BatchStatistics:
    """
    The batches of one size.

    Attributes:
        count: Batches that were run.
        input_s: Joining the tensors of their requests, in seconds.
        infer_s: Running the graph, in seconds.
        output_s: Cutting up the outputs, in seconds.
    """

    count: int = 0
    input_s: float = 0.0
    infer_s: float = 0.0
    output_s: float = 0.0


@dataclass(slots=True)
class Statistics:
    """
    Counters of one version of a model. Owned by the event loop.

    Attributes:
        answers: Requests that were answered.
        total_s: Their time from arrival to answer, in seconds; the next four are parts of it.
        queue_s: Waiting for the device.
        input_s: Decoding images and joining tensors.
        infer_s: Running the graph.
        output_s: From the outputs to the finished response.
        fail: Requests that were accepted and not answered: they failed, expired or were cancelled.
        inference_count: Images that were answered.
        execution_count: Batches that were run.
        last_inference_ms: Time of the last answer, in milliseconds since 1970; 0 if there is none.
        batches: Batches by their number of images.
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

    def add_batch(self, size: int, *, input_s: float, infer_s: float, output_s: float) -> None:
        """Count a batch of *size* images."""
        if (batch := self.batches.get(size)) is None:
            batch = self.batches[size] = BatchStatistics()
        batch.count += 1
        batch.input_s += input_s
        batch.infer_s += infer_s
        batch.output_s += output_s
        self.execution_count += 1

    def add_answer(
        self,
        images: int,
        *,
        total_s: float,
        queue_s: float,
        input_s: float,
        infer_s: float,
        output_s: float,
    ) -> None:
        """Count a request that was answered."""
        self.answers += 1
        self.total_s += total_s
        self.queue_s += queue_s
        self.input_s += input_s
        self.infer_s += infer_s
        self.output_s += output_s
        self.inference_count += images
        self.last_inference_ms = time.time_ns() // 1_000_000
