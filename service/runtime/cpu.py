"""Sessions on the CPU."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from convoy.artifact.files import Artifact
from convoy.service.errors import ModelLoadError
from convoy.service.runtime.graph_cache import GraphCache
from convoy.service.runtime.proof import prove
from convoy.service.runtime.runs import CPU, cut, open_session, session_options
from convoy.service.telemetry.batch_record import BatchTimes, Outputs

logger = logging.getLogger(__name__)

SPIN_US = "50"
"""Time that a thread of a run spins while it waits for work, in microseconds.

Measured on 2 cores: GoogLeNet takes 8.8 ms per image instead of 13.5, ResNet-18 8.9 instead of
13.0. 1,000 us are better for ONNX Runtime alone, and worse in a server under load, as the transport
needs the cores (docs/explanation/benchmarks.md).
"""


class CpuRunner:
    """
    Runs a graph on the CPU, in batches of any size.

    Attributes:
        session: The graph.
    """

    def __init__(self, session: onnxruntime.InferenceSession, artifact: Artifact) -> None:
        self.session = session
        self._input = artifact.manifest.input.name
        self._outputs = [output.name for output in artifact.manifest.outputs]

    def run(self, items: Sequence[npt.NDArray[Any]]) -> tuple[list[Outputs], BatchTimes]:
        """Run arrays `[n, ...]` as one batch; return the outputs of each. Thread-safe."""
        started = time.perf_counter()
        batch = items[0] if len(items) == 1 else np.concatenate(items)
        joined = time.perf_counter()
        values = self.session.run(self._outputs, {self._input: batch})
        ran = time.perf_counter()
        outputs = dict(zip(self._outputs, values, strict=True))
        parts = [outputs] if len(items) == 1 else cut(outputs, [len(item) for item in items])
        return parts, BatchTimes(joined - started, ran - joined, time.perf_counter() - ran)

    @property
    def device_bytes(self) -> int:
        """Return 0: the graph uses the process's memory."""
        return 0

    def close(self) -> None:
        """Free the graph's memory."""
        del self.session


def open_on_cpu(artifact: Artifact, threads: int, cache: GraphCache) -> CpuRunner:
    """
    Open the cached graph, or else the original, and prove it.

    Args:
        threads: Threads inside one run.

    Raises:
        ModelLoadError: If it cannot be opened, or differs from the manifest.
        GoldenDriftError: If its answers drift from the golden ones.
    """
    # Case 1: the graph was optimised before.
    if kept := cache.find(artifact):
        options = _options(threads)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            return _proven(kept, options, artifact)
        except ModelLoadError as error:
            logger.warning(
                "cannot use a cached graph, optimising the model again",
                extra={"reason": str(error)},
            )
            cache.drop(artifact)
    # Case 2: optimise it now, and cache the result.
    try:
        if runner := _open_and_keep(artifact, threads, cache):
            return runner
    except ModelLoadError as error:  # the disk may be full, or the graph itself is faulty
        logger.warning(
            "opening the model without caching its optimised graph", extra={"reason": str(error)}
        )
    # Case 3: it is not to be cached, or that failed.
    return _proven(artifact.model_path, _options(threads), artifact)


def _open_and_keep(artifact: Artifact, threads: int, cache: GraphCache) -> CpuRunner | None:
    """Open the graph, prove it and cache its optimised form; None if it is not to be cached."""
    with cache.keeping(artifact) as optimised:
        if optimised is None:
            return None
        options = _options(threads)
        options.optimized_model_filepath = str(optimised)
        return _proven(artifact.model_path, options, artifact)


def _proven(model: Path, options: onnxruntime.SessionOptions, artifact: Artifact) -> CpuRunner:
    runner = CpuRunner(open_session(model, options, [(CPU, {})]), artifact)
    prove(runner, artifact, artifact.manifest.golden_tolerance)
    return runner


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = session_options()
    options.intra_op_num_threads = threads
    # Threads spin between the nodes of a run: waking them for each costs up to a third of a run.
    # They stop soon between runs, where decoding and the transport need their cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(threads > 1)))
    options.add_session_config_entry("session.intra_op.spin_duration_us", SPIN_US)
    return options
