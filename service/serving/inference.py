"""What goes through the queue of a model: a request's terms, and what comes of it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy.typing as npt

from convoy.service.batching.queue import DEFAULT_PRIORITY
from convoy.service.runtime.runs import BatchTimes, Outputs

Tensor = npt.NDArray[Any]
"""Images of one request, `[N, ...]` in the shape and dtype of the model's input."""


class Terms(NamedTuple):
    """
    On what terms a request waits.

    Attributes:
        deadline: Event-loop time after which the client no longer cares.
        priority: One of `queue.PRIORITIES`.
    """

    deadline: float = math.inf
    priority: int = DEFAULT_PRIORITY


class Inference(NamedTuple):
    """
    Outputs for one request and where its time went.

    Attributes:
        outputs: Output name -> array `[N, ...]`.
        images: N.
        decode_s: Decoding its images, in seconds; 0 for tensors.
        queue_s: Waiting for the device, in seconds.
        inference_s: Running the batch, in seconds.
        batch_size: Images in that batch, those of other requests included.
        times: What the run took, in parts.
        started_at: `time.perf_counter()` when the request was accepted.
        answered_at: The same, when the outputs were there.
    """

    outputs: Outputs
    images: int
    decode_s: float
    queue_s: float
    inference_s: float
    batch_size: int
    times: BatchTimes
    started_at: float
    answered_at: float


class Ran(NamedTuple):
    """Outputs of one request, and what its whole batch took."""

    outputs: Outputs
    times: BatchTimes
