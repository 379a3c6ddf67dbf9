"""Export of a trained network to an ONNX file, and the proof that both answer alike."""

from __future__ import annotations

import functools
import logging
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnxruntime import InferenceSession
from torch import Tensor, nn

from convoy.artifact.golden import TOLERANCES, replay
from convoy.artifact.manifest import InputTensor, OutputTensor
from convoy.export.errors import ProofError
from convoy.export.normalization import Normalize
from convoy.export.onnx.replacements import rewrite
from convoy.export.onnx.session import open_session

OPSET = 20
"""ONNX operator set of the graphs."""

INPUT_NAME = "image"
OUTPUTS = (
    OutputTensor(name="logits", kind="logits"),
    OutputTensor(name="probabilities", kind="probabilities"),
)

PROOF_BATCH_SIZES = (1, 2, 5, 64)
PROOF_TOLERANCE = TOLERANCES["float32"]
"""Largest difference between ONNX Runtime and PyTorch, as a share of the logits' range."""


class Servable(nn.Module):
    """
    The module that is exported: normalisation, network and softmax.

    Shape:
        Input: (N, H, W, C), uint8
        Output: logits and probabilities, float32 (N, classes) each
    """

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.normalize = Normalize(mean, std)
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(self.normalize(image))
        return logits, torch.softmax(logits, dim=1)


def export_onnx(servable: Servable, tensor: InputTensor, path: Path) -> None:
    """
    Write *servable*, in evaluation mode, as one ONNX file with a variable batch size.

    Some modules of the network are replaced by equivalent ones whose graph is simpler.
    """
    example = torch.zeros((2, *tensor.item_shape), dtype=torch.uint8)
    rewrite(servable.network, servable.normalize(example))
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                servable,
                (example,),
                path,
                dynamo=True,
                external_data=False,
                opset_version=OPSET,
                input_names=[tensor.name],
                output_names=[output.name for output in OUTPUTS],
                dynamic_shapes={"image": {0: torch.export.Dim("N")}},
                verbose=False,
            )
    finally:
        quiet.setLevel(level)
    model = onnx.load(path)
    _drop_notes(model.graph)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _drop_notes(graph: onnx.GraphProto) -> None:
    """Remove the exporter's notes, which contain paths of the exporting machine."""
    values = [*graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for part in (graph, *graph.node, *values):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def prove(
    session: InferenceSession,
    servable: Servable,
    images: npt.NDArray[np.uint8],
    batch_sizes: tuple[int, ...] = PROOF_BATCH_SIZES,
) -> float:
    """
    Compare ONNX Runtime with PyTorch on *images* and on noise, at each of *batch_sizes*.

    Args:
        images: Images that the export never saw, at least as many as the largest batch: uint8
            `[N, H, W, C]`.

    Returns:
        The largest difference between logits, as a share of the range of all of them.

    Raises:
        ProofError: If it exceeds `PROOF_TOLERANCE`, a class differs, or the graph does not run.
    """
    count = max(batch_sizes)
    noise = np.random.default_rng(0).integers(0, 256, images[:count].shape, np.uint8)
    parts = (images[:count], noise)
    logits = np.concatenate([torch_logits(servable, part) for part in parts])
    # A network that ignores its input would pass; one with logits that are not numbers fails here.
    if not np.ptp(logits) > 0:
        raise ProofError("the network gives every image the same answer, or none that is finite")
    # Each batch is the beginning of the images, then the beginning of the noise.
    firsts = [np.arange(size) for size in batch_sizes]
    batches = [batch for first in firsts for batch in (first, count + first)]
    worst = 0.0
    run = functools.partial(_run, session)
    for drift in replay(run, np.concatenate(parts), {"logits": logits}, batches):
        worst = max(worst, drift.share)
        if drift.exceeds(PROOF_TOLERANCE):
            raise ProofError(
                f"at batch {drift.batch_size} the graph's logits differ from PyTorch's by "
                f"{drift.share:.1e} of their range; at most {PROOF_TOLERANCE:.0e} is allowed"
            )
        if not drift.same_classes:
            raise ProofError(
                f"at batch {drift.batch_size} the graph's top class differs from PyTorch's"
            )
    return worst


def _run(
    session: InferenceSession, batch: npt.NDArray[np.uint8]
) -> dict[str, npt.NDArray[np.float32]]:
    try:
        (logits,) = session.run(["logits"], {INPUT_NAME: batch})
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise ProofError(f"running the graph at batch {len(batch)} failed: {error}") from error
    return {"logits": logits}


def torch_logits(servable: Servable, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return PyTorch's logits for *images*: float32 `[N, classes]`."""
    with torch.inference_mode():
        logits: Tensor = servable(torch.from_numpy(images))[0]
    return logits.numpy()


def reference_logits(path: Path, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the logits of the graph taken literally, by ONNX Runtime without optimisations."""
    session = open_session(path, is_optimised=False)
    logits: npt.NDArray[np.float32] = session.run(["logits"], {INPUT_NAME: images})[0]
    return logits
