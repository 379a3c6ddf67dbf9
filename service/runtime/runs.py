"""The interface of a run, and the functions that runs on all devices share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt
import onnxruntime

from convoy.service.errors import ModelLoadError
from convoy.service.telemetry.batch_record import BatchTimes, Outputs

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"

OPENVINO = "OpenVINOExecutionProvider"

GPU_PROVIDERS = (CUDA, TENSORRT)

Provider = tuple[str, dict[str, str]]
"""Name of an execution provider, and its options."""


class Runner(Protocol):
    """
    Runs an opened graph.

    Attributes:
        session: The graph.
    """

    session: onnxruntime.InferenceSession

    @property
    def device_bytes(self) -> int:
        """Device memory that the graph uses so far, in bytes; 0 on a CPU."""

    def run(self, items: Sequence[npt.NDArray[Any]]) -> tuple[list[Outputs], BatchTimes]:
        """Run arrays `[n, ...]` as one batch; return the outputs of each. Blocks."""

    def close(self) -> None:
        """Free the graph's memory; it cannot run after that."""


def open_session(
    model: Path,
    options: onnxruntime.SessionOptions,
    providers: list[Provider],
    **arguments: int,
) -> onnxruntime.InferenceSession:
    """
    Open a graph.

    Raises:
        ModelLoadError: If it cannot be opened.
    """
    try:
        return onnxruntime.InferenceSession(model, options, providers=providers, **arguments)
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise ModelLoadError(f"cannot open {model} on {providers}: {error}") from error


def session_options() -> onnxruntime.SessionOptions:
    """Return the options that every device uses."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; the warnings repeat checks made here
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return options


def batch_sizes(max_batch_size: int) -> list[int]:
    """Return the powers of two up to *max_batch_size*, and itself, ascending."""
    powers = (1 << exponent for exponent in range(max_batch_size.bit_length()))
    return sorted({*powers, max_batch_size})


def cut(outputs: Outputs, lengths: list[int]) -> list[Outputs]:
    """Cut outputs into those of each request; drop the items beyond `sum(lengths)`."""
    ends = list(accumulate(lengths))
    return [
        {name: values[end - length : end] for name, values in outputs.items()}
        for length, end in zip(lengths, ends, strict=True)
    ]
