"""ONNX Runtime: opens an artifact's graph on a device, proves its answers, runs batches.

The device is never chosen silently. `cuda` is an error where CUDA cannot be had; `auto` falls
back to the CPU and keeps the reason. ONNX Runtime itself falls back without a word unless it is
asked in exactly the way of `_open_on_cuda`: its list of available providers tells only what it
was built with, and any list that ends with the CPU may end on the CPU.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime

from artifact.files import Artifact
from artifact.manifest import OutputTensor
from service.errors import StartError

logger = logging.getLogger(__name__)

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"

TINY = 1e-12
"""Least range of golden answers; below it the images were all answered alike."""

Outputs = dict[str, npt.NDArray[Any]]
"""Output name -> array `[N, ...]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """
    Where models run.

    Attributes:
        policy: `cuda` or nothing, `cpu`, or `auto`: CUDA if it can be had.
        intra_op_threads: Threads inside one run on a CPU.
    """

    policy: Literal["auto", "cuda", "cpu"]
    intra_op_threads: int


class Session:
    """
    One loaded graph, proven against the artifact's golden answers.

    Attributes:
        provider: Execution provider that runs it.
        fallback_reason: Why it is not the one that was preferred; empty if it is.
        nodes: Nodes of the graph after optimisation, by execution provider.
    """

    def __init__(self, artifact: Artifact, device: Device) -> None:
        """
        Open the graph and replay the golden images.

        Raises:
            StartError: If the graph cannot be opened, the device cannot be had, the graph is
                not what the manifest says, or the answers drift from the golden ones.
        """
        self._session, self.fallback_reason = _open(artifact, device)
        self.provider = self._session.get_providers()[0]
        self.nodes: Counter[str] = Counter()
        for subgraph in self._session.get_provider_graph_assignment_info():
            self.nodes[subgraph.ep_name] += len(subgraph.get_nodes())
        self._input_name = artifact.manifest.input.name
        self._output_names = [output.name for output in artifact.manifest.outputs]
        _check_signature(self._session, artifact)
        self._replay_golden(artifact)

    def run(self, batch: npt.NDArray[Any]) -> Outputs:
        """Run the graph on *batch*, `[N, ...]` in its input's shape and dtype; blocks."""
        values = self._session.run(self._output_names, {self._input_name: batch})
        return dict(zip(self._output_names, values, strict=True))

    def run_each(self, items: Sequence[npt.NDArray[Any]]) -> list[Outputs]:
        """Run arrays `[n, ...]` as one batch; the outputs are cut up again by their lengths."""
        if len(items) == 1:
            return [self.run(items[0])]
        outputs = self.run(np.concatenate(items))
        ends = np.cumsum([len(item) for item in items])[:-1]
        parts = {name: np.split(values, ends) for name, values in outputs.items()}
        return [
            {name: arrays[index] for name, arrays in parts.items()} for index in range(len(items))
        ]

    def _replay_golden(self, artifact: Artifact) -> None:
        """Prove that this provider on this machine answers as the reference did."""
        manifest, golden = artifact.manifest, artifact.golden
        try:
            outputs = self.run(golden.images)
        except Exception as error:
            raise StartError(f"{artifact.model_path}: the golden images fail: {error}") from error
        for output in manifest.outputs:
            _check_output(artifact, output, outputs[output.name])
        proven = manifest.scores
        self._check_drift(artifact, proven.name, outputs[proven.name], golden.logits)
        probabilities = manifest.output("probabilities")
        if probabilities is not None and proven.kind == "logits":
            expected = softmax(golden.logits)
            self._check_drift(artifact, probabilities.name, outputs[probabilities.name], expected)

    def _check_drift(
        self,
        artifact: Artifact,
        name: str,
        actual: npt.NDArray[Any],
        expected: npt.NDArray[Any],
    ) -> None:
        tolerance = artifact.manifest.golden_tolerance
        actual = as_scores(actual)
        drift = float(np.abs(actual - expected).max() / max(np.ptp(expected), TINY))
        same = (actual.argmax(1) == expected.argmax(1)).all()
        if not drift <= tolerance or not same:
            raise StartError(
                f"{artifact.model_path}: on {self.provider} {name} drift from the golden ones "
                f"by {drift:.1e} of their range; {tolerance:.0e} is allowed"
            )


def has_cuda() -> bool:
    """Whether this ONNX Runtime was built for CUDA; says nothing of a device."""
    return CUDA in onnxruntime.get_available_providers()


def as_scores(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Make scores of any float type, `[N, classes, ...]` with ones at the end, `[N, classes]`."""
    return values.reshape(len(values), -1).astype(np.float32, copy=False)


def softmax(logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Probabilities of logits `[N, classes]`, row by row."""
    exponentials: npt.NDArray[Any] = np.exp(logits - logits.max(axis=1, keepdims=True))
    exponentials /= exponentials.sum(axis=1, keepdims=True)
    return exponentials


def _open(artifact: Artifact, device: Device) -> tuple[onnxruntime.InferenceSession, str]:
    """Open the graph by *device*'s policy; the text says why CUDA was not taken."""
    if device.policy == "cpu":
        return _open_on_cpu(artifact, device), ""
    try:
        return _open_on_cuda(artifact), ""
    except StartError as error:
        if device.policy == "cuda":
            raise
        reason = str(error)
    logger.warning(
        "device auto: falling back to the CPU",
        extra={"model": artifact.manifest.name, "provider": CPU, "reason": reason},
    )
    return _open_on_cpu(artifact, device), reason


def _open_on_cpu(artifact: Artifact, device: Device) -> onnxruntime.InferenceSession:
    options = _options()
    options.intra_op_num_threads = device.intra_op_threads
    # A thread that spins between runs takes its core from decoding and from the transport.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return _create(artifact, options, [CPU])


def _open_on_cuda(artifact: Artifact) -> onnxruntime.InferenceSession:
    """Open the graph on CUDA, whole, or raise `StartError`."""
    if not has_cuda():
        raise StartError(
            "CUDA is not in this build of ONNX Runtime: install the extra gpu in place of cpu"
        )
    onnxruntime.preload_dlls()
    options = _options()
    # Without these two ONNX Runtime would run on the CPU and say nothing.
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    # TF32 would cost the precision that the golden answers prove.
    session = _create(artifact, options, [(CUDA, {"use_tf32": "0"})], enable_fallback=0)
    session.disable_fallback()
    if session.get_providers()[0] != CUDA:
        raise StartError("CUDA could not be loaded; see ONNX Runtime's messages above")
    return session


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; warnings repeat what is checked here
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return options


def _create(
    artifact: Artifact,
    options: onnxruntime.SessionOptions,
    providers: list[str | tuple[str, dict[str, str]]],
    **arguments: int,
) -> onnxruntime.InferenceSession:
    try:
        return onnxruntime.InferenceSession(
            artifact.model_path, options, providers=providers, **arguments
        )
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise StartError(
            f"{artifact.model_path}: cannot be opened on {providers}: {error}"
        ) from error


def _check_output(artifact: Artifact, output: OutputTensor, values: npt.NDArray[Any]) -> None:
    """Compare what the graph gave for the golden images with what the manifest says of it."""
    shape = [len(artifact.golden.images), *artifact.manifest.item_shape(output)]
    same = len(shape) == values.ndim and all(
        expected in (-1, found) for expected, found in zip(shape, values.shape, strict=True)
    )
    if not same or values.dtype != output.dtype:
        raise StartError(
            f"{artifact.model_path}: {output.name} has shape {list(values.shape)} and type "
            f"{values.dtype}, the manifest says {shape} and {output.dtype}"
        )


def _check_signature(session: onnxruntime.InferenceSession, artifact: Artifact) -> None:
    """Compare the graph's input and outputs with what the manifest says of them."""
    manifest = artifact.manifest
    types = {"uint8": "tensor(uint8)", "float32": "tensor(float)", "float16": "tensor(float16)"}
    inputs = [(tensor.name, tensor.type, tensor.shape[1:]) for tensor in session.get_inputs()]
    expected = (
        manifest.input.name,
        types[manifest.input.dtype],
        list(manifest.input.item_shape),
    )
    if inputs != [expected]:
        raise StartError(
            f"{artifact.model_path}: the graph takes {inputs}, the manifest says {[expected]}"
        )
    outputs = {tensor.name for tensor in session.get_outputs()}
    for output in manifest.outputs:
        if output.name not in outputs:
            raise StartError(f"{artifact.model_path}: the graph has no output {output.name!r}")
