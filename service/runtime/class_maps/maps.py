"""Class activation maps: the share of each place of the last maps in the score of a class.

They are exact: the mean of a class's map, plus its bias, is its score. This is checked each time.
The graph is opened once more, with its last maps as a further output, on one thread, and closed
again: the session that serves stays as fast as it is, and keeps no memory for this.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
"""Axes of height and width in maps."""

_SAME = 1e-2
"""Largest difference of two averages of the same maps, as a share of the largest value: float16
has a significand of 10 bits."""


@dataclass(frozen=True, slots=True)
class ClassMaps:
    """
    The maps of some classes, in the units of the scores.

    Attributes:
        maps: `[classes, rows, columns]`.
        biases: The part of each score that does not depend on the maps: `[classes]`.
        scores: The score of each class, by the graph itself: `[classes]`.
    """

    maps: Array
    biases: Array
    scores: Array


def reason_for_none(model_path: Path, manifest: Manifest) -> str:
    """Return the reason for which the graph has no class activation maps; empty if it has them."""
    try:
        with model_path.open("rb") as file:
            _head(Graph.read(file), manifest)
    except NoHeadError as error:
        return str(error)
    # A model serves without them, too.
    except (OSError, ValueError) as error:
        _log("cannot read the graph", manifest, error)
        return "its graph cannot be read"
    return ""


def find_class_maps(
    model_path: Path, manifest: Manifest, image: Array, classes: Sequence[int]
) -> ClassMaps:
    """
    Find the maps of *classes* for an image, `[1, ...]` in the shape and dtype of the input. Blocks.

    Raises:
        ArtifactInvalidError: If the graph cannot be read, or is no longer that of the manifest.
        ModelLoadError: If it cannot be opened or run.
        UnsupportedError: If it has no such maps.
    """
    model = _read(model_path, manifest)
    try:
        return _find(model, manifest, image, list(classes))
    except NoHeadError as error:
        raise UnsupportedError(
            f"{_title(manifest)} has no class activation maps: {error}; use occlusion"
        ) from error


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
        # Each place is given to the head as if it were the average, and then nothing at all.
        places = np.moveaxis(maps, (height, width), (1, 2)).reshape(-1, average.size)
        places = np.concatenate([places, np.zeros_like(places[:1])])
        places = places.reshape(-1, *average.shape[1:])
        if head.nodes:
            step = 1 if body.get_inputs()[0].shape[0] == 1 else len(places)
            after = _open(head.model(graph, average.dtype.name), manifest)
            batches = (places[start : start + step] for start in range(0, len(places), step))
            parts = [
                _run(after, [head.scores], {head.average: batch}, manifest)[0] for batch in batches
            ]
            places = np.concatenate(parts)
    *shares, biases = places.reshape(-1, len(manifest.labels)).astype(np.float64)
    scores = values[head.scores].reshape(-1).astype(np.float64)
    found = np.array(shares) - biases
    _check(found.mean(axis=0) + biases, scores, manifest)
    shape = (len(classes), maps.shape[height], maps.shape[width])
    return ClassMaps(found[:, classes].T.reshape(shape), biases[classes], scores[classes])


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
    raise NoHeadError("its last average is not that of whole maps")


def _check(means: Array, scores: Array, manifest: Manifest) -> None:
    """Raise `NoHeadError` if the means of the maps are not the scores."""
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
    # Somebody has changed the files beneath a model that serves.
    if hashlib.sha256(model).hexdigest() != manifest.model_sha256:
        _log("the graph has changed", manifest, str(model_path))
        raise ArtifactInvalidError(
            f"the graph of {_title(manifest)} has changed since it was loaded; "
            "copy the artifact again, or load the model again"
        )
    return model


def _open(model: bytes, manifest: Manifest) -> onnxruntime.InferenceSession:
    options = session_options()
    options.intra_op_num_threads = 1
    # It runs once: weights in another order, for speed, would only take time and memory.
    options.add_session_config_entry("session.disable_prepacking", "1")
    try:
        return onnxruntime.InferenceSession(model, options, providers=[CPU])
    except Exception as error:  # ONNX Runtime's errors share no base class
        _log("cannot open the graph with its maps", manifest, error)
        raise ModelLoadError(
            f"the graph of {_title(manifest)} cannot be opened with its maps; "
            "the server's log has the cause"
        ) from error


def _run(
    session: onnxruntime.InferenceSession,
    outputs: list[str],
    inputs: dict[str, Array],
    manifest: Manifest,
) -> list[Array]:
    try:
        return list(session.run(outputs, inputs))
    except Exception as error:  # ONNX Runtime's errors share no base class
        _log("cannot run the graph with its maps", manifest, error)
        raise ModelLoadError(
            f"the graph of {_title(manifest)} cannot be run with its maps; "
            "the server's log has the cause"
        ) from error


def _title(manifest: Manifest) -> str:
    return f"{manifest.name} version {manifest.version}"


def _log(message: str, manifest: Manifest, cause: object) -> None:
    """Log a cause that names paths or internals, which clients do not see."""
    extra = {"model": manifest.name, "version": manifest.version, "reason": str(cause)}
    logger.warning(message, extra=extra)
