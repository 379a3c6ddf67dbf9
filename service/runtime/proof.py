"""The proof that a loaded graph answers on this device as it did where it was made."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from convoy.artifact.files import Artifact
from convoy.artifact.golden import expected_answers, replay
from convoy.artifact.manifest import OutputTensor
from convoy.service.errors import GoldenDriftError, ModelLoadError
from convoy.service.runtime.runs import Runner
from convoy.service.telemetry.batch_record import Outputs


def prove(runner: Runner, artifact: Artifact, tolerance: float) -> None:
    """
    Replay the golden images on *runner*, on the provider and machine that will serve.

    Args:
        tolerance: Largest difference from the golden answers, as a share of their range.

    Raises:
        ModelLoadError: If the graph is not what the manifest says, or does not run.
        GoldenDriftError: If its answers drift from the golden ones.
    """
    manifest, golden = artifact.manifest, artifact.golden
    _check_signature(runner.session, artifact)
    proven = filter(None, (manifest.scores, manifest.probabilities))
    expected = expected_answers({output.name: output.kind for output in proven}, golden.logits)
    everything = np.arange(len(golden.images))
    # A graph with a fixed batch of 1 was proven with one image at a time; it takes no more.
    one_by_one = runner.session.get_inputs()[0].shape[0] == 1
    batches = everything[:, np.newaxis] if one_by_one else [everything]
    run = functools.partial(_run, runner, artifact)
    for drift in replay(run, golden.images, expected, batches):
        if drift.exceeds(tolerance) or not drift.same_classes:
            raise GoldenDriftError(
                f"{artifact.model_path}: on {runner.session.get_providers()[0]}, {drift.output} "
                f"drift from the golden answers by {drift.share:.1e} of their range; at most "
                f"{tolerance:.0e} is allowed"
            )


def _run(runner: Runner, artifact: Artifact, batch: npt.NDArray[Any]) -> Outputs:
    try:
        outputs = runner.run([batch])[0][0]
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise ModelLoadError(
            f"{artifact.model_path}: running the golden images failed: {error}"
        ) from error
    for output in artifact.manifest.outputs:
        _check_output(artifact, output, outputs[output.name], len(batch))
    return outputs


def _check_output(
    artifact: Artifact, output: OutputTensor, values: npt.NDArray[Any], batch_size: int
) -> None:
    """Compare an output for a batch of golden images with the manifest's description of it."""
    shape = [batch_size, *artifact.manifest.item_shape(output)]
    same = len(shape) == values.ndim and all(
        expected in (-1, found) for expected, found in zip(shape, values.shape, strict=True)
    )
    if not same or values.dtype != output.dtype:
        raise ModelLoadError(
            f"{artifact.model_path}: {output.name} has shape {list(values.shape)} and type "
            f"{values.dtype}, but the manifest states {shape} and {output.dtype}"
        )


def _check_signature(session: onnxruntime.InferenceSession, artifact: Artifact) -> None:
    """Compare the graph's input and outputs with the manifest's description of them."""
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
            f"{artifact.model_path}: the graph takes {inputs}, but the manifest states {[expected]}"
        )
    outputs = {tensor.name for tensor in session.get_outputs()}
    for output in manifest.outputs:
        if output.name not in outputs:
            raise ModelLoadError(f"{artifact.model_path}: the graph has no output {output.name!r}")
