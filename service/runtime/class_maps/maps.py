"""Class activation maps: the contribution of each position of the last feature maps to a score.

They are exact: the mean of a class's map plus its bias is its score, which is checked each time.
The graph is opened once more, with its last feature maps as a further output, on one thread, and
closed again: the session that serves keeps its speed, and no memory stays in use.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime

from convoy.artifact.manifest import Manifest
from convoy.service.errors import ArtifactInvalidError, ModelLoadError, UnsupportedError
from convoy.service.runtime.class_maps.graph import Graph, output_fields
from convoy.service.runtime.class_maps.head import Head, NoHeadError, find_head
from convoy.service.runtime.runs import CPU, session_options

logger = logging.getLogger(__name__)

Array = npt.NDArray[Any]

_LAYOUTS = {"NCHW": (2, 3), "NHWC": (1, 2)}
"""Axes of height and width in feature maps, by layout."""

_SAME = 1e-2
"""
Largest difference between two averages of the same maps, relative to the largest value.

float16 has a significand of 10 bits.
"""


@dataclass(frozen=True, slots=True)
class ClassMaps:
    """
    The maps of some classes, in the units of the scores.

    Attributes:
        maps: float64 `[classes, rows, columns]`.
        biases: The part of each score that does not depend on the maps, float64 `[classes]`.
        scores: The scores that the graph itself computes, float64 `[classes]`.
    """

    maps: Array
    biases: Array
    scores: Array


def reason_for_none(model_path: Path, manifest: Manifest) -> str:
    """Return the reason why the graph has no class activation maps; empty if it has them."""
    try:
        with model_path.open("rb") as file:
            _head(Graph.read(file), manifest)
    except NoHeadError as error:
        return str(error)
    # The model can serve without them.
    except (OSError, ValueError) as error:
        _log("cannot read the graph", manifest, error)
        return "its graph cannot be read"
    return ""


def find_class_maps(
    model_path: Path, manifest: Manifest, image: Array, classes: Sequence[int]
) -> ClassMaps:
    """
    Find the class activation maps of an image; blocks the thread.

    Args:
        image: `[1, ...]` in the shape and dtype of the model's input.
        classes: Indices of the classes whose maps are returned, in this order.

    Raises:
        ArtifactInvalidError: If the graph cannot be read, or has changed since it was loaded.
        ModelLoadError: If it cannot be opened or run.
        UnsupportedError: If it has no class activation maps.
    """
    model = _read(model_path, manifest)
    try:
        return _find(model, manifest, image, list(classes))
    except NoHeadError as error:
        raise no_class_maps(manifest, str(error)) from error


def no_class_maps(manifest: Manifest, reason: str) -> UnsupportedError:
    """Return the error for a model that has no class activation maps."""
    return UnsupportedError(
        f"{_title(manifest)} has no class activation maps: {reason}; use occlusion"
    )


def _find(model: bytes, manifest: Manifest, image: Array, classes: list[int]) -> ClassMaps:
    with io.BytesIO(model) as file:
        graph = Graph.read(file)
        head = _head(graph, manifest)
        names = list(dict.fromkeys((head.maps, head.average, head.scores)))
        added = output_fields([name for name in names if name not in graph.outputs])
        body = _open(model + added, manifest)
        answers = _run(body, names, {manifest.input.name: image}, manifest)
        values = dict(zip(names, answers, strict=True))
        maps, average = values[head.maps], values[head.average]
        height, width = _LAYOUTS[_layout(maps, average)]
        # Each position is given to the head as if it were the average, and then zeros alone.
        positions = np.moveaxis(maps, (height, width), (1, 2)).reshape(-1, average.size)
        averages = np.concatenate([positions, np.zeros_like(positions[:1])])
        averages = averages.reshape(-1, *average.shape[1:])
        size = 1 if body.get_inputs()[0].shape[0] == 1 else len(averages)
        outputs = _apply(head, graph, averages, size, manifest) if head.nodes else averages
    *shares, biases = outputs.reshape(-1, len(manifest.labels)).astype(np.float64)
    scores = values[head.scores].reshape(-1).astype(np.float64)
    found = np.array(shares) - biases
    _check(found.mean(axis=0) + biases, scores, manifest)
    shape = (len(classes), maps.shape[height], maps.shape[width])
    return ClassMaps(found[:, classes].T.reshape(shape), biases[classes], scores[classes])


def _apply(head: Head, graph: Graph, averages: Array, size: int, manifest: Manifest) -> Array:
    """Run the head on `[N, ...]` averages, *size* at a time."""
    session = _open(head.model(graph, averages.dtype.name), manifest)
    batches = (averages[start : start + size] for start in range(0, len(averages), size))
    parts = [_run(session, [head.scores], {head.average: one}, manifest)[0] for one in batches]
    return np.concatenate(parts)


def _head(graph: Graph, manifest: Manifest) -> Head:
    return find_head(graph, manifest.input.name, manifest.scores.name, manifest.scores.kind)


def _layout(maps: Array, average: Array) -> str:
    """Return the layout of the maps; raise `NoHeadError` unless *average* is their average."""
    largest = float(np.abs(average).max(initial=0))
    for layout, axes in _LAYOUTS.items():
        if maps.ndim == 4:
            mean = maps.mean(axis=axes, dtype=np.float64).ravel()
            if mean.size == average.size and np.allclose(
                mean, average.ravel(), rtol=0, atol=_SAME * largest
            ):
                return layout
    raise NoHeadError("its last average is not that of whole feature maps")


def _check(means: Array, scores: Array, manifest: Manifest) -> None:
    """Raise `NoHeadError` if the means of the maps differ from the scores."""
    if not (np.isfinite(means).all() and np.isfinite(scores).all()):
        raise NoHeadError("its scores for this image are not finite")
    drift = float(np.abs(means - scores).max() / (np.ptp(scores) or 1.0))
    if drift > manifest.golden_tolerance:
        raise NoHeadError(
            f"the means of its maps differ from its scores by {drift:.2g} of their range, more "
            f"than the manifest's tolerance of {manifest.golden_tolerance:g}"
        )


def _read(model_path: Path, manifest: Manifest) -> bytes:
    try:
        model = model_path.read_bytes()
    except OSError as error:
        _log("cannot read the graph", manifest, error)
        raise ArtifactInvalidError(
            f"the graph of {_title(manifest)} cannot be read; the server's log has the cause"
        ) from error
    # The files of a model may change while it serves.
    if hashlib.sha256(model).hexdigest() != manifest.model_sha256:
        _log("the graph has changed", manifest, str(model_path))
        raise ArtifactInvalidError(
            f"the graph of {_title(manifest)} has changed since it was loaded; "
            "restore the artifact, or load the model again"
        )
    return model


def _open(model: bytes, manifest: Manifest) -> onnxruntime.InferenceSession:
    options = session_options()
    options.intra_op_num_threads = 1
    # Sessions are short-lived: prepacked weights would cost more than they save.
    options.add_session_config_entry("session.disable_prepacking", "1")
    with _explained("opened", manifest):
        return onnxruntime.InferenceSession(model, options, providers=[CPU])


def _run(
    session: onnxruntime.InferenceSession,
    outputs: list[str],
    inputs: dict[str, Array],
    manifest: Manifest,
) -> list[Array]:
    with _explained("run", manifest):
        return list(session.run(outputs, inputs))


@contextmanager
def _explained(step: Literal["opened", "run"], manifest: Manifest) -> Iterator[None]:
    """Log any error of ONNX Runtime, and raise `ModelLoadError` for it."""
    try:
        yield
    except Exception as error:  # ONNX Runtime's errors share no base class
        _log(f"the graph cannot be {step} with its maps", manifest, error)
        raise ModelLoadError(
            f"the graph of {_title(manifest)} cannot be {step} with its maps; "
            "the server's log has the cause"
        ) from error


def _title(manifest: Manifest) -> str:
    return f"{manifest.name} version {manifest.version}"


def _log(message: str, manifest: Manifest, cause: object) -> None:
    """Log a cause that clients must not see: it may name paths or internals."""
    extra = {"model": manifest.name, "version": manifest.version, "reason": str(cause)}
    logger.warning(message, extra=extra)
