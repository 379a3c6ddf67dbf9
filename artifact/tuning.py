"""`tuning.json`: how a model runs best on one machine, as `convoy tune` measured it.

It is written beside the manifest after a version was published, and can be missing. It states the
machine that it holds for; on any other machine it is ignored.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from convoy.artifact.manifest import Part
from convoy.artifact.optional_files import OptionalFile, read_optional_file
from convoy.artifact.whole_files import write_beside_graph

TUNING_FILE = "tuning.json"

CpuProvider = Literal["onnxruntime", "openvino"]
"""The runtime of a graph on a processor: ONNX Runtime's own kernels, or OpenVINO's."""

CpuPrecision = Literal["float32", "bf16"]
"""The number format in which a processor computes float32 layers."""


class GpuUse(Part):
    """
    A GPU, and the options that change how long its runs take.

    Attributes:
        name: The model of the GPU, as its driver names it.
        tensorrt: Whether TensorRT runs what it can.
        tf32: Whether float32 is rounded to TF32 in convolutions and products.
        cuda_graphs: Whether runs are captured as CUDA graphs and replayed.
    """

    name: str
    tensorrt: bool
    tf32: bool
    cuda_graphs: bool


class Machine(Part):
    """
    The machine that a measurement holds for; one that differs in any field is another machine.

    Attributes:
        processor: Its name, as the operating system gives it.
        cores: Number of cores that the process may use.
        onnxruntime: Version of ONNX Runtime.
        gpu: The GPU that runs the model; None if the processor does.
    """

    processor: str
    cores: int = Field(ge=1)
    onnxruntime: str
    gpu: GpuUse | None = None

    def runs_at_once(self, threads: int) -> int:
        """Return how many runs of *threads* threads have room; a GPU takes one at a time."""
        return 1 if self.gpu else self.cores // threads

    @property
    def device(self) -> str:
        """The processor or GPU that runs the model, for people: `NVIDIA H200, TF32`."""
        if self.gpu is None:
            return self.processor
        options = {
            "TensorRT": self.gpu.tensorrt,
            "TF32": self.gpu.tf32,
            "CUDA graphs": self.gpu.cuda_graphs,
        }
        return ", ".join([self.gpu.name, *(name for name, is_on in options.items() if is_on)])


class Choice(Part):
    """
    One way to run the model, with its measured speed.

    Attributes:
        provider: Runtime on a processor; without meaning on a GPU.
        precision: Number format in which the processor computes float32 layers.
        threads: Intra-op threads of a run; 1 on a GPU. As many runs as the cores allow go at once.
        batch_size: Images in each run.
        images_per_s: Throughput of all runs together.
        run_ms: Median time of a run.
        run_p99_ms: 99th percentile of the time of a run.
        run_p99_spread_ms: Lowest and highest of these percentiles in the turns of the measurement;
            None if they were not kept.
    """

    provider: CpuProvider = "onnxruntime"
    precision: CpuPrecision = "float32"
    threads: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    images_per_s: float = Field(gt=0)
    run_ms: float = Field(gt=0)
    run_p99_ms: float = Field(gt=0)
    run_p99_spread_ms: tuple[float, float] | None = None

    @property
    def runtime(self) -> str:
        """The runtime on a processor, for people: `onnxruntime`, `openvino bf16`."""
        return self.provider if self.precision == "float32" else f"{self.provider} {self.precision}"


class Tuning(OptionalFile):
    """
    The content of `tuning.json`: the measurements, and the choice among them.

    Attributes:
        p99_ms: Upper bound that was set for the 99th percentile of the latency of requests.
        chosen: The best way within the bound; its batch size becomes the largest one.
        measured: Every way that was tried.
    """

    schema_version: Literal[4] = 4
    machine: Machine
    p99_ms: float = Field(gt=0)
    chosen: Choice
    measured: tuple[Choice, ...]
    made_at: datetime

    def holds_for(self, machine: Machine, model_sha256: str) -> bool:
        """Return whether it was measured on such a machine, with this graph."""
        return (self.machine, self.model_sha256) == (machine, model_sha256)


def read_tuning(folder: Path) -> Tuning | None:
    """
    Read the tuning of the artifact in *folder*; return None if there is none that can be used.

    Raises:
        ArtifactError: If it is damaged.
    """
    return read_optional_file(folder / TUNING_FILE, Tuning, _STEPS)


def write_tuning(folder: Path, tuning: Tuning) -> None:
    """Write the tuning of the artifact in *folder*, atomically."""
    write_beside_graph(folder, TUNING_FILE, tuning.model_dump_json(indent=2) + "\n")


def _from_version_1(fields: dict[str, Any]) -> dict[str, Any]:
    """Upgrade the GPU, which was a text such as `NVIDIA H200, TF32, CUDA graphs`."""
    machine = fields["machine"]
    name, *options = machine.get("gpu", "").split(", ")
    gpu = {
        "name": name,
        "tensorrt": "TensorRT" in options,
        "tf32": "TF32" in options,
        "cuda_graphs": "CUDA graphs" in options,
    }
    return fields | {"machine": machine | {"gpu": gpu if name else None}}


def _from_version_2(fields: dict[str, Any]) -> dict[str, Any]:
    """Keep everything: ONNX Runtime's own kernels in float32 are the defaults of what is new."""
    return fields


def _from_version_3(fields: dict[str, Any]) -> dict[str, Any]:
    """Keep all fields: version 4 adds the spread of p99."""
    return fields


_STEPS = (_from_version_1, _from_version_2, _from_version_3)
"""Upgrade the fields of a tuning from version 1 on; see `artifact/schema.py`."""
