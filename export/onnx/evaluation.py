"""How often the answers of an exported graph are right."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from onnxruntime import InferenceSession

from convoy.artifact.manifest import Evaluation, Preprocessing
from convoy.export.data import Split
from convoy.export.onnx import graph
from convoy.export.training.accuracy import accuracy

BATCH_SIZE = 32


def logits_of(
    session: InferenceSession, split: Split, spec: Preprocessing
) -> npt.NDArray[np.float32]:
    """
    The graph's logits for each image of *split*: float32 `[N, classes]`.

    Raises:
        DataError: If an image cannot be read or decoded.
    """
    return np.concatenate(
        [session.run(["logits"], {graph.INPUT_NAME: pixels})[0] for pixels in chunks(split, spec)]
    )


def chunks(split: Split, spec: Preprocessing) -> Iterator[npt.NDArray[np.uint8]]:
    """Decode *split* a few images at a time: uint8 `[N, H, W, C]`."""
    for start in range(0, len(split), BATCH_SIZE):
        yield split.part(range(start, min(start + BATCH_SIZE, len(split)))).pixels(spec)


def evaluation(
    data: str, logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]
) -> Evaluation:
    """What was measured on *data*."""
    return Evaluation(
        data=data,
        origin="measured",
        images=len(labels),
        top1=accuracy(logits, labels, top=1),
        top5=accuracy(logits, labels, top=5) if logits.shape[1] > 5 else None,
    )
