"""Speed of graphs on this machine, in turns, so that a disturbance affects all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime import InferenceSession

ROUNDS = 5
"""Turns in which each graph is measured."""

_BATCH_SIZE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """
    The speed of a graph on one thread.

    Attributes:
        images_per_s: Throughput in batches of 8, or of as many as the graph takes.
        p50_ms: Median time of one image alone.
    """

    images_per_s: float
    p50_ms: float


def measure_speed(
    models: Mapping[str, bytes], images: npt.NDArray[Any], max_batch_size: int, seconds: float
) -> dict[str, Speed]:
    """
    Measure the graphs *models* for *seconds* each.

    Args:
        images: Images as the graphs take them: `[N, ...]`.
    """
    sessions = {name: _open(model) for name, model in models.items()}
    batch = np.resize(images, (min(_BATCH_SIZE, max_batch_size), *images.shape[1:]))
    # Half of the time for one image, half of it for batches.
    share = seconds / ROUNDS / 2
    one: dict[str, list[float]] = {name: [] for name in models}
    many: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(ROUNDS):
        for name, session in sessions.items():
            one[name] += _times(session, batch[:1], share)
            many[name] += _times(session, batch, share)
    return {
        name: Speed(
            images_per_s=len(batch) / statistics.median(many[name]),
            p50_ms=1000 * statistics.median(one[name]),
        )
        for name in models
    }


def _open(model: bytes) -> InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # As two runs at once of one thread each on two cores, which is the fastest way to serve.
    options.intra_op_num_threads = 1
    return InferenceSession(model, options, ["CPUExecutionProvider"], enable_fallback=0)


def _times(session: InferenceSession, batch: npt.NDArray[Any], seconds: float) -> list[float]:
    """Return the time of each run, in seconds, without the first, which allocates memory."""
    feed = {session.get_inputs()[0].name: batch}
    session.run(None, feed)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        started = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - started)
    return times
