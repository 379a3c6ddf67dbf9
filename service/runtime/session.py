"""One loaded model on its device: opened, proven, warmed up, and run in batches.

Neither the device nor the provider is chosen silently. `cuda` is an error if CUDA is not available;
`auto` falls back to the CPU and keeps the reason, unless the machine has no GPU. On the CPU,
`openvino` is an error if OpenVINO cannot run the model as it is told to; `auto` falls back to ONNX
Runtime's own kernels in float32, and keeps the reason.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from convoy.artifact.files import Artifact
from convoy.service.errors import GoldenDriftError, ModelLoadError
from convoy.service.machine.resources import has_gpu, has_gpu_driver
from convoy.service.runtime.cpu import open_on_cpu
from convoy.service.runtime.cuda import AHEAD_S, has_cuda, open_on_gpu
from convoy.service.runtime.device import Cpu, CpuRun, Device
from convoy.service.runtime.graph_cache import GraphCache
from convoy.service.runtime.openvino import open_with_openvino
from convoy.service.runtime.runs import CPU, GPU_PROVIDERS, Runner, batch_sizes
from convoy.service.telemetry.batch_record import Outputs

logger = logging.getLogger(__name__)

NO_CACHE = GraphCache(None, 0)


class Session:
    """
    One loaded graph, proven against the artifact's golden answers.

    Attributes:
        runner: Runs it on its device.
        provider: Execution provider that runs it, or most of it.
        precision: Number format that it is computed in: that of its weights, or `bf16`.
        on_gpu: Whether it runs on a GPU.
        fallback_reason: Reason for another provider than the preferred one; empty without fallback.
        cores: Number of cores that a run takes.
        ahead_s: How long before the expected end of a run the next batch is taken, in seconds.
        inline_size: Maximum number of images in a run that is not worth a thread; 0 if no run is.
        tuned: Choice of a tuning for this machine; None without one.
        nodes: Nodes of the graph after optimisation, by execution provider.
        one_by_one: Whether the graph only accepts batches of one image.
        max_batch_size: Maximum number of images in a run.
        device_bytes: Device memory that it uses once it is warm; 0 on a CPU.
    """

    def __init__(
        self,
        artifact: Artifact,
        device: Device,
        cache: GraphCache = NO_CACHE,
        *,
        max_batch_size: int = 0,
    ) -> None:
        """
        Open the graph and replay the golden images.

        Args:
            cache: Cache of optimised graphs.
            max_batch_size: Maximum number of images in a run; 0 uses the artifact's.

        Raises:
            ModelLoadError: If the graph cannot be opened, the device is not available, or the graph
                differs from the manifest.
            GoldenDriftError: If the answers drift from the golden ones.
        """
        self._input = artifact.manifest.input
        wanted = max_batch_size or artifact.manifest.max_batch_size
        opened = _open(artifact, device, cache, wanted)
        self.runner, self.fallback_reason = opened.runner, opened.fallback_reason
        session = self.runner.session
        self.one_by_one = session.get_inputs()[0].shape[0] == 1
        self.max_batch_size = 1 if self.one_by_one else wanted
        self.provider: str = session.get_providers()[0]
        self.on_gpu = self.provider in GPU_PROVIDERS
        self.precision = _precision(artifact, opened.cpu_run)
        # A GPU takes one run at a time.
        self.cores = opened.cpu_run.threads if opened.cpu_run else device.cores
        self.ahead_s = AHEAD_S if self.on_gpu else 0.0
        self.inline_size = 0 if self.on_gpu else device.inline_size(artifact)
        self.tuned = opened.device.tuned(artifact, on_gpu=self.on_gpu)
        self.device_bytes = 0
        self.nodes: Counter[str] = Counter()
        for subgraph in session.get_provider_graph_assignment_info():
            self.nodes[subgraph.ep_name] += len(subgraph.get_nodes())

    def run(self, batch: npt.NDArray[Any]) -> Outputs:
        """Run the graph on *batch*, `[N, ...]` in its input's shape and dtype; blocks."""
        (outputs,), _ = self.runner.run([batch])
        return outputs

    def can_run(self) -> bool:
        """Return whether it runs a black image, as in the warm-up; blocks."""
        try:
            self.run(self._black(1))
        except Exception:  # ONNX Runtime's errors share no base class
            return False
        return True

    def close(self) -> None:
        """Free the graph's memory; it cannot run after that."""
        self.runner.close()

    def warm(self) -> dict[int, float]:
        """
        Run batches of 1, 2, 4, ... `max_batch_size` images: no client waits for a first run.

        Returns:
            Time of a run in seconds, by the number of its images.

        Raises:
            ModelLoadError: If one of them fails.
        """
        took = {}
        for size in batch_sizes(self.max_batch_size):
            images = self._black(size)
            try:
                if self.on_gpu:
                    self.run(images)  # plans and captures it
                started = time.perf_counter()
                self.run(images)
            except Exception as error:  # ONNX Runtime's errors share no base class
                raise ModelLoadError(f"running a batch of {size} images failed: {error}") from error
            took[size] = time.perf_counter() - started
        self.device_bytes = self.runner.device_bytes
        return took

    def _black(self, count: int) -> npt.NDArray[Any]:
        return np.zeros((count, *self._input.item_shape), self._input.dtype)


def _has_gpu() -> bool:
    """Return whether this process sees a GPU, or this build is for one that the host has."""
    # A container sees the host's GPU only if it was started with it, which is easily forgotten.
    return has_gpu() or (has_cuda() and has_gpu_driver())


class _Opened(NamedTuple):
    """
    A proven graph.

    Attributes:
        device: The device with the options that it runs with after a fallback.
        cpu_run: How it runs on a processor; None on a GPU.
        fallback_reason: Empty without a fallback.
    """

    runner: Runner
    device: Device
    cpu_run: CpuRun | None
    fallback_reason: str


def _open(artifact: Artifact, device: Device, cache: GraphCache, max_batch_size: int) -> _Opened:
    """Open and prove the graph by *device*'s policy."""
    # Case 1: the operator chose the CPU, or there is nothing to prefer to it.
    if device.policy == "cpu" or (device.policy == "auto" and not _has_gpu()):
        return _open_on_processor(artifact, device, cache)
    try:
        runner = open_on_gpu(artifact, device, max_batch_size)
        return _Opened(runner, device, None, "")
    except GoldenDriftError:
        raise
    except ModelLoadError as error:
        # Case 2: the operator chose CUDA: no silent fallback.
        if device.policy == "cuda":
            raise
        # Case 3: the operator left the choice to the server; drift, above, is not a reason.
        reason = str(error)
    _log_once(device, "device auto: falling back to the CPU", reason)
    opened = _open_on_processor(artifact, device, cache)
    reasons = filter(None, (reason, opened.fallback_reason))
    return opened._replace(fallback_reason="; ".join(reasons))


def _open_on_processor(artifact: Artifact, device: Device, cache: GraphCache) -> _Opened:
    run = device.cpu_run(artifact)
    # Case 1: ONNX Runtime's own kernels.
    if run.provider == "onnxruntime":
        return _Opened(open_on_cpu(artifact, run.threads, cache), device, run, "")
    try:
        runner = open_with_openvino(artifact, run, device.cores // run.threads)
        return _Opened(runner, device, run, "")
    except ModelLoadError as error:
        # Case 2: the operator chose OpenVINO: no silent fallback.
        if device.cpu.provider == "openvino":
            raise
        # Case 3: the operator left the choice to the server. Drift is a reason, too: what the
        # coarser numbers of bf16 do to a network says nothing about the machine.
        reason = str(error)
    _log_once(device, "cpu-provider auto: falling back to ONNX Runtime in float32", reason)
    device = dataclasses.replace(device, cpu=Cpu(provider="onnxruntime"))
    return _open_on_processor(artifact, device, cache)._replace(fallback_reason=reason)


def _log_once(device: Device, message: str, reason: str) -> None:
    """Log a fallback, unless it was logged for another model."""
    if reason not in device.logged:
        device.logged.add(reason)
        logger.warning(message, extra={"provider": CPU, "reason": reason})


def _precision(artifact: Artifact, run: CpuRun | None) -> str:
    own = artifact.manifest.precision
    # Of an int8 graph, only the few layers that are not quantised are computed in bf16.
    return "bf16" if run is not None and run.precision == "bf16" and own != "int8" else own
