"""The device that models run on, and the number of cores for each of them."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import onnxruntime

from convoy.artifact.files import Artifact
from convoy.artifact.tuning import Choice, CpuPrecision, CpuProvider, GpuUse, Machine
from convoy.service.machine.resources import processor_name
from convoy.service.telemetry.gpu import gpu_name

SMALL_MACS = 250_000_000
"""Below this many multiply-accumulates per image, a run takes one core, and several run at once.

Measured on 2 cores (docs/explanation/benchmarks.md): below it, two runs of one thread have 8-150 %
more throughput than one run of two, and one image takes 4 ms longer at most. Above, they gain less,
and one image takes twice as long.
"""

INLINE_MACS = 20_000_000
"""Runs of at most this many multiply-accumulates take about a millisecond at most.

Handing a run to a thread, and its outputs back, takes 0.2 ms of processor time
(docs/explanation/benchmarks.md).
"""


def _one_thread() -> Executor:
    return ThreadPoolExecutor(1, thread_name_prefix="gpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """
    Options for the use of a GPU.

    Attributes:
        memory_limit_bytes: Most GPU memory for the arena of each model; 0 is no limit.
        tf32: Whether float32 is rounded to TF32 in convolutions and products.
        cuda_graphs: Whether runs are captured as CUDA graphs and replayed.
        tensorrt: Whether TensorRT runs the nodes that it supports.
        engine_folder: Folder for TensorRT's engines; None keeps none.
        thread: The only thread that uses the GPU once a graph is open.
    """

    memory_limit_bytes: int = 0
    tf32: bool = False
    cuda_graphs: bool = True
    tensorrt: bool = False
    engine_folder: Path | None = None
    thread: Executor = field(default_factory=_one_thread, compare=False)

    def use(self) -> GpuUse:
        """Return the GPU's name with the options that change its speed, as a tuning states them."""
        return GpuUse(
            name=gpu_name(),
            tensorrt=self.tensorrt,
            tf32=self.tf32,
            cuda_graphs=self.cuda_graphs,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """
    Options for the use of a processor.

    Attributes:
        provider: Runtime of models; `auto` uses what was tuned, else what *precision* needs.
        precision: The coarsest number format that float32 layers may be computed in.
    """

    provider: Literal["auto"] | CpuProvider = "auto"
    precision: CpuPrecision = "float32"

    def allows(self, choice: Choice) -> bool:
        """Return whether a model may run as *choice* says."""
        return self.provider in ("auto", choice.provider) and choice.precision in (
            "float32",
            self.precision,
        )


class CpuRun(NamedTuple):
    """
    One way to run a model on a processor.

    Attributes:
        provider: Runtime of the graph.
        precision: Number format in which float32 layers are computed.
        threads: Threads inside one run.
    """

    provider: CpuProvider
    precision: CpuPrecision
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """
    The device that models run on.

    Attributes:
        policy: `cuda` (an error if it is not available), `cpu`, or `auto`: CUDA if available.
        cores: Number of cores that the process may use.
        inline_macs: Maximum multiply-accumulates of a run on a CPU that is not worth a thread.
        intra_op_threads: Threads inside one run on a CPU; 0 uses the tuned number, or one that
            depends on the network's size.
        cpu: Options for the use of a processor.
        gpu: Options for the use of a GPU.
        logged: Reasons of fallbacks that were logged: the models share them, most often.
    """

    policy: Literal["auto", "cuda", "cpu"]
    cores: int
    inline_macs: int = INLINE_MACS
    intra_op_threads: int = 0
    cpu: Cpu = field(default_factory=Cpu)
    gpu: Gpu = field(default_factory=Gpu)
    logged: set[str] = field(default_factory=set, compare=False)

    def machine(self, *, on_gpu: bool) -> Machine:
        """Return the machine that a tuning must have been measured on to be used here."""
        return Machine(
            processor=processor_name(),
            cores=self.cores,
            onnxruntime=onnxruntime.__version__,
            gpu=self.gpu.use() if on_gpu else None,
        )

    def tuned(self, artifact: Artifact, *, on_gpu: bool) -> Choice | None:
        """Return the choice that was tuned for this machine and is allowed, or None."""
        # Threads that the operator has set overrule a tuning.
        if self.intra_op_threads and not on_gpu:
            return None
        tuning, sha256 = artifact.tuning, artifact.manifest.model_sha256
        if tuning is None or not tuning.holds_for(self.machine(on_gpu=on_gpu), sha256):
            return None
        return tuning.chosen if on_gpu or self.cpu.allows(tuning.chosen) else None

    def inline_size(self, artifact: Artifact) -> int:
        """Return the most images in a run on a CPU that is not worth a thread; 0 if no run is."""
        macs = artifact.manifest.macs
        # Not counted: it may be any size, so it never holds up the event loop.
        return 0 if macs is None else self.inline_macs // max(1, macs)

    def cpu_run(self, artifact: Artifact) -> CpuRun:
        """Return how *artifact* runs on a processor: as set, as tuned, or by network size."""
        # Case 1: it was measured on such a machine, and the operator has set nothing else.
        if choice := self.tuned(artifact, on_gpu=False):
            return CpuRun(choice.provider, choice.precision, choice.threads)
        # Case 2: ONNX Runtime, which has no bf16 and in float32 is faster, unless set otherwise.
        usual: CpuProvider = "openvino" if self.cpu.precision == "bf16" else "onnxruntime"
        provider = usual if self.cpu.provider == "auto" else self.cpu.provider
        precision = self.cpu.precision if provider == "openvino" else "float32"
        return CpuRun(provider, precision, self._threads(artifact, provider))

    def _threads(self, artifact: Artifact, provider: CpuProvider) -> int:
        # Case 1: the operator has set it.
        if self.intra_op_threads:
            return min(self.intra_op_threads, self.cores)
        # Case 2: small networks gain more from several runs at once.
        macs = artifact.manifest.macs
        if macs is not None and macs < SMALL_MACS:
            return 1
        # Case 3: a second thread hardly speeds up a run of OpenVINO's, and a second run doubles the
        # throughput: on two cores, ResNet-50 in bf16 takes 41 ms with one thread and 47 with two
        # (docs/explanation/benchmarks.md).
        return max(1, self.cores // 2) if provider == "openvino" else self.cores
