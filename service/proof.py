"""The proof that a loaded graph answers here as it did where it was made."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from artifact.files import Artifact
from artifact.manifest import OutputTensor
from service.errors import GoldenDriftError, ModelLoadError

TINY = 1e-12
"""Least range of golden answers; below it the images were all answered alike."""


def proven(
    session: onnxruntime.InferenceSession, artifact: Artifact
) -> onnxruntime.InferenceSession:
    """
    Replay the golden images on *session*, on the provider and machine really in use.

    Returns:
        *session* itself.

    Raises:
        ModelLoadError: If the graph is not what the manifest says.
        GoldenDriftError: If its answers drift from the golden ones.
    """
    manifest, golden = artifact.manifest, artifact.golden
    _check_signature(session, artifact)
    names = [output.name for output in manifest.outputs]
    # A graph that takes one image at a time was proven one by one.
    one_by_one = session.get_inputs()[0].shape[0] == 1
    batches = golden.images[:, np.newaxis] if one_by_one else [golden.images]
    try:
        runs = [session.run(names, {manifest.input.name: batch}) for batch in batches]
    except Exception as error:
        raise ModelLoadError(f"{artifact.model_path}: the golden images fail: {error}") from error
    values = (np.concatenate(parts) for parts in zip(*runs, strict=True))
    outputs = dict(zip(names, values, strict=True))
    for output in manifest.outputs:
        _check_output(artifact, output, outputs[output.name])
    provider = session.get_providers()[0]
    proven = manifest.scores
    _check_drift(artifact, provider, proven.name, outputs[proven.name], golden.logits)
    probabilities = manifest.output("probabilities")
    if probabilities is not None and proven.kind == "logits":
        expected = softmax(golden.logits)
        _check_drift(artifact, provider, probabilities.name, outputs[probabilities.name], expected)
    return session


def _check_drift(
    artifact: Artifact,
    provider: str,
    name: str,
    actual: npt.NDArray[Any],
    expected: npt.NDArray[Any],
) -> None:
    tolerance = artifact.manifest.golden_tolerance
    scores = as_scores(actual)
    drift = float(np.abs(scores - expected).max() / max(np.ptp(expected), TINY))
    same = (scores.argmax(1) == expected.argmax(1)).all()
    if not drift <= tolerance or not same:
        raise GoldenDriftError(
            f"{artifact.model_path}: on {provider} {name} drift from the golden ones "
            f"by {drift:.1e} of their range; {tolerance:.0e} is allowed"
        )


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
