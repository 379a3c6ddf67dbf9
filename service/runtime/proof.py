"""The proof that a loaded graph answers here as it did where it was made."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from convoy.artifact.files import Artifact
from convoy.artifact.manifest import OutputTensor
from convoy.service.errors import GoldenDriftError, ModelLoadError
from convoy.service.runtime.runs import Runner

TINY = 1e-12
"""Least range of golden answers; below it the images were all answered alike."""


def prove(runner: Runner, artifact: Artifact, tolerance: float) -> None:
    """
    Replay the golden images on *runner*, on the provider and machine really in use.

    Args:
        tolerance: How far its answers may be from the golden ones, as a share of their range.

    Raises:
        ModelLoadError: If the graph is not what the manifest says, or does not run.
        GoldenDriftError: If its answers drift from the golden ones.
    """
    manifest, golden = artifact.manifest, artifact.golden
    _check_signature(runner.session, artifact)
    # A graph that takes one image at a time was proven one by one.
    one_by_one = runner.session.get_inputs()[0].shape[0] == 1
    batches = golden.images[:, np.newaxis] if one_by_one else [golden.images]
    try:
        runs = [runner.run([batch])[0][0] for batch in batches]
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise ModelLoadError(f"{artifact.model_path}: the golden images fail: {error}") from error
    names = [output.name for output in manifest.outputs]
    outputs = {name: np.concatenate([run[name] for run in runs]) for name in names}
    for output in manifest.outputs:
        _check_output(artifact, output, outputs[output.name])
    expected = {manifest.scores.name: golden.logits}
    probabilities = manifest.output("probabilities")
    if probabilities is not None and manifest.scores.kind == "logits":
        expected[probabilities.name] = softmax(golden.logits)
    provider = runner.session.get_providers()[0]
    for name, values in expected.items():
        drift = _drift(outputs[name], values, tolerance)
        if drift is not None:
            raise GoldenDriftError(
                f"{artifact.model_path}: on {provider} {name} drift from the golden ones "
                f"by {drift:.1e} of their range; {tolerance:.0e} is allowed"
            )


def _drift(actual: npt.NDArray[Any], expected: npt.NDArray[Any], tolerance: float) -> float | None:
    """How far *actual* is off, if that is beyond *tolerance* or another class is the best."""
    scores = as_scores(actual)
    drift = float(np.abs(scores - expected).max() / max(np.ptp(expected), TINY))
    same = (scores.argmax(1) == expected.argmax(1)).all()
    return None if drift <= tolerance and same else drift


def _check_output(artifact: Artifact, output: OutputTensor, values: npt.NDArray[Any]) -> None:
    """Compare what the graph gave for the golden images with what the manifest says of it."""
    shape = [len(artifact.golden.images), *artifact.manifest.item_shape(output)]
    same = len(shape) == values.ndim and all(
        expected in (-1, found) for expected, found in zip(shape, values.shape, strict=True)
    )
    if not same or values.dtype != output.dtype:
        raise ModelLoadError(
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
        raise ModelLoadError(
            f"{artifact.model_path}: the graph takes {inputs}, the manifest says {[expected]}"
        )
    outputs = {tensor.name for tensor in session.get_outputs()}
    for output in manifest.outputs:
        if output.name not in outputs:
            raise ModelLoadError(f"{artifact.model_path}: the graph has no output {output.name!r}")


def as_scores(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Make scores of any float type, `[N, classes, ...]` with ones at the end, `[N, classes]`."""
    return values.reshape(len(values), -1).astype(np.float32, copy=False)


def softmax(logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Probabilities of logits `[N, classes]`, row by row."""
    exponentials: npt.NDArray[Any] = np.exp(logits - logits.max(axis=1, keepdims=True))
    exponentials /= exponentials.sum(axis=1, keepdims=True)
    return exponentials
