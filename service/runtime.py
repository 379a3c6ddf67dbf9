"""ONNX Runtime: opens an artifact's graph on a device, warms it, runs batches.

The device is never chosen silently. `cuda` is an error where CUDA cannot be had; `auto` falls
back to the CPU and keeps the reason. ONNX Runtime itself falls back without a word unless it is
asked in exactly the way of `_open_on_cuda`: its list of available providers tells only what it
was built with, and any list that ends with the CPU may end on the CPU.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime

from artifact.files import Artifact
from service.device import Device
from service.errors import ModelLoadError
from service.graph_cache import GraphCache
from service.proof import proven

logger = logging.getLogger(__name__)

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"

NO_CACHE = GraphCache(None, 0)

Outputs = dict[str, npt.NDArray[Any]]
"""Output name -> array `[N, ...]`."""


class BatchTimes(NamedTuple):
    """
    What one run took, in seconds.

    Attributes:
        input_s: Joining the tensors of its requests.
        infer_s: Running the graph.
        output_s: Cutting up the outputs.
    """

    input_s: float
    infer_s: float
    output_s: float


class Session:
    """
    One loaded graph, proven against the artifact's golden answers.

    Attributes:
        provider: Execution provider that runs it.
        fallback_reason: Why it is not the one that was preferred; empty if it is.
        cores: Cores that a run takes.
        tuned: How it was found to run best on this machine; None if nobody looked.
        nodes: Nodes of the graph after optimisation, by execution provider.
        one_by_one: Whether the graph takes no batch of more than one image.
    """

    def __init__(self, artifact: Artifact, device: Device, cache: GraphCache | None = None) -> None:
        """
        Open the graph and replay the golden images.

        Args:
            cache: Where graphs are kept that were optimised before.

        Raises:
            ModelLoadError: If the graph cannot be opened, the device cannot be had, or the graph
                is not what the manifest says.
            GoldenDriftError: If the answers drift from the golden ones.
        """
        self._input = artifact.manifest.input
        self._output_names = [output.name for output in artifact.manifest.outputs]
        self._session, self.fallback_reason = _open(artifact, device, cache or NO_CACHE)
        self.provider = self._session.get_providers()[0]
        # A GPU takes one run at a time.
        on_cpu = self.provider == CPU
        self.cores = device.threads(artifact) if on_cpu else device.cores
        self.tuned = device.tuned(artifact) if on_cpu else None
        self.one_by_one = self._session.get_inputs()[0].shape[0] == 1
        self.nodes: Counter[str] = Counter()
        for subgraph in self._session.get_provider_graph_assignment_info():
            self.nodes[subgraph.ep_name] += len(subgraph.get_nodes())

    def run(self, batch: npt.NDArray[Any]) -> Outputs:
        """Run the graph on *batch*, `[N, ...]` in its input's shape and dtype; blocks."""
        values = self._session.run(self._output_names, {self._input.name: batch})
        return dict(zip(self._output_names, values, strict=True))

    def run_each(self, items: Sequence[npt.NDArray[Any]]) -> tuple[list[Outputs], BatchTimes]:
        """Run arrays `[n, ...]` as one batch; the outputs are cut up again by their lengths."""
        started = time.perf_counter()
        batch = items[0] if len(items) == 1 else np.concatenate(items)
        joined = time.perf_counter()
        outputs = self.run(batch)
        ran = time.perf_counter()
        parts = [outputs] if len(items) == 1 else _cut(outputs, [len(item) for item in items])
        return parts, BatchTimes(joined - started, ran - joined, time.perf_counter() - ran)

    def can_run(self) -> bool:
        """Whether it runs a black image, as it did when it was warmed; blocks."""
        try:
            self.run(self._black(1))
        except Exception:  # ONNX Runtime's errors share no base class
            return False
        return True

    def close(self) -> None:
        """Free the graph's memory; nothing may be run after that."""
        del self._session

    def warm(self, max_batch_size: int) -> dict[int, float]:
        """
        Run batches of 1, 2, 4, ... *max_batch_size* images, so that no client meets a first one.

        Returns:
            Seconds that each took, by its images.

        Raises:
            ModelLoadError: If one of them fails.
        """
        took = {}
        for size in warm_sizes(max_batch_size):
            images = self._black(size)
            started = time.perf_counter()
            try:
                self.run(images)
            except Exception as error:  # ONNX Runtime's errors share no base class
                raise ModelLoadError(f"a batch of {size} images fails: {error}") from error
            took[size] = time.perf_counter() - started
        return took

    def _black(self, count: int) -> npt.NDArray[Any]:
        return np.zeros((count, *self._input.item_shape), self._input.dtype)


def has_cuda() -> bool:
    """Whether this ONNX Runtime was built for CUDA; says nothing of a device."""
    return CUDA in onnxruntime.get_available_providers()


def warm_sizes(max_batch_size: int) -> list[int]:
    """Powers of two up to *max_batch_size*, and itself."""
    powers = (1 << exponent for exponent in range(max_batch_size.bit_length()))
    return sorted({*powers, max_batch_size})


def _cut(outputs: Outputs, lengths: list[int]) -> list[Outputs]:
    """Cut outputs of `sum(lengths)` items into those of each request."""
    ends = list(accumulate(lengths))
    return [
        {name: values[end - length : end] for name, values in outputs.items()}
        for length, end in zip(lengths, ends, strict=True)
    ]


def _open(
    artifact: Artifact, device: Device, cache: GraphCache
) -> tuple[onnxruntime.InferenceSession, str]:
    """Open and prove the graph by *device*'s policy; the text says why CUDA was not taken."""
    if device.policy == "cpu":
        return _open_on_cpu(artifact, device, cache), ""
    try:
        session = _open_on_cuda(artifact)
    except ModelLoadError as error:
        if device.policy == "cuda":
            raise
        reason = str(error)
    else:
        return proven(session, artifact), ""
    logger.warning(
        "device auto: falling back to the CPU",
        extra={"model": artifact.manifest.name, "provider": CPU, "reason": reason},
    )
    return _open_on_cpu(artifact, device, cache), reason


def _open_on_cpu(
    artifact: Artifact, device: Device, cache: GraphCache
) -> onnxruntime.InferenceSession:
    """Open the graph as it was optimised before, or else as it is; prove it."""
    if kept := cache.find(artifact):
        options = _cpu_options(artifact, device)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            return proven(_create(kept, options, [CPU]), artifact)
        except ModelLoadError as error:
            logger.warning("a kept graph is of no use", extra={"reason": str(error)})
            cache.drop(artifact)
    try:
        if session := _open_and_keep(artifact, device, cache):
            return session
    except ModelLoadError as error:  # the disk is full, or it is the graph itself
        logger.warning("opening without keeping the graph", extra={"reason": str(error)})
    return proven(_create(artifact.model_path, _cpu_options(artifact, device), [CPU]), artifact)


def _open_and_keep(
    artifact: Artifact, device: Device, cache: GraphCache
) -> onnxruntime.InferenceSession | None:
    """Open the graph, prove it, and keep it as it was optimised; None if it is not to be kept."""
    with cache.keeping(artifact) as optimised:
        if optimised is None:
            return None
        options = _cpu_options(artifact, device)
        options.optimized_model_filepath = str(optimised)
        return proven(_create(artifact.model_path, options, [CPU]), artifact)


def _cpu_options(artifact: Artifact, device: Device) -> onnxruntime.SessionOptions:
    options = _options()
    options.intra_op_num_threads = device.threads(artifact)
    # A thread that spins between runs takes its core from decoding and from the transport.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _open_on_cuda(artifact: Artifact) -> onnxruntime.InferenceSession:
    """Open the graph on CUDA, whole, or raise `ModelLoadError`."""
    if not has_cuda():
        raise ModelLoadError(
            "CUDA is not in this build of ONNX Runtime: install the extra gpu in place of cpu"
        )
    onnxruntime.preload_dlls()
    options = _options()
    # Without these two ONNX Runtime would run on the CPU and say nothing.
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    # TF32 would cost the precision that the golden answers prove.
    session = _create(artifact.model_path, options, [(CUDA, {"use_tf32": "0"})], enable_fallback=0)
    session.disable_fallback()
    if session.get_providers()[0] != CUDA:
        raise ModelLoadError("CUDA could not be loaded; see ONNX Runtime's messages above")
    return session


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; warnings repeat what is checked here
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return options


def _create(
    model: Path,
    options: onnxruntime.SessionOptions,
    providers: list[str | tuple[str, dict[str, str]]],
    **arguments: int,
) -> onnxruntime.InferenceSession:
    try:
        return onnxruntime.InferenceSession(model, options, providers=providers, **arguments)
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise ModelLoadError(f"{model}: cannot be opened on {providers}: {error}") from error
