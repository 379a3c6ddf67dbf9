"""Test images, the reference's answers to them, and the proof that a served graph gives the same.

The reference is ONNX Runtime without optimisations, one image at a time: the graph taken literally.
A server opens the graph with optimisations and runs it in batches.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnxruntime import InferenceSession

from convoy.artifact.golden import Drift, replay, select_clearest
from convoy.artifact.preprocess import to_input
from convoy.export.data.folders import IMAGE_SUFFIXES
from convoy.export.data.split import Split
from convoy.export.errors import DataError, GraphError, ProofError
from convoy.export.importing.scores import Run
from convoy.export.importing.signature import Signature
from convoy.export.onnx.session import one_line

IMAGE_COUNT = 8
"""Images that a graph is tested with."""


def find_images(paths: Sequence[Path]) -> list[Path]:
    """
    Return `IMAGE_COUNT` files, spread over the files in *paths* and the images in its folders.

    Raises:
        DataError: If a folder cannot be read or holds no image.
    """
    found: list[Path] = []
    for path in paths:
        try:
            images = sorted(_images_in(path)) if path.is_dir() else [path]
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}") from error
        if not images:
            raise DataError(f"no images in {path}")
        found += images
    return found[:: max(1, len(found) // IMAGE_COUNT)][:IMAGE_COUNT]


def _images_in(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not path.name.startswith(".")
        and path.is_file()
    ]


def make_inputs(signature: Signature, files: Sequence[Path]) -> npt.NDArray[Any]:
    """
    Make `IMAGE_COUNT` items of the graph's input: those of *files*, then generated ones.

    Raises:
        DataError: If a file is not an image. The message names it.
    """
    spec = signature.preprocessing
    labels = np.zeros(len(files), np.int64)  # not used
    given = Split(files, labels).pixels(spec)
    invented = invent_images(IMAGE_COUNT - len(files), spec.height, spec.width, spec.channels)
    images = np.concatenate([given, invented])
    return np.stack([to_input(i, signature.tensor, signature.normalization) for i in images])


def make_neighbours(signature: Signature) -> npt.NDArray[Any]:
    """Make three items of the graph's input that no test image resembles: white, noise, black."""
    spec = signature.preprocessing
    shape = (spec.height, spec.width, spec.channels)
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    images = (np.full(shape, 255, np.uint8), noise, np.zeros(shape, np.uint8))
    return np.stack([to_input(i, signature.tensor, signature.normalization) for i in images])


def invent_images(count: int, height: int, width: int, channels: int) -> npt.NDArray[np.uint8]:
    """Return images of waves, always the same ones: uint8 `[N, H, W, C]`."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width]
    images = np.zeros((count, height, width, channels))
    for image in images:
        for cycles in (0.3, 1, 3, 9):  # over the image's width: from a gradient to a texture
            angle, phase = random.uniform(0, 2 * np.pi, (2, channels))
            along = np.multiply.outer(x / width, np.cos(angle))
            along += np.multiply.outer(y / height, np.sin(angle))
            image += np.cos(2 * np.pi * cycles * along + phase)
    return (127.5 + 127.5 * images / 4).astype(np.uint8)


def reference_runs(
    session: InferenceSession, images: npt.NDArray[Any], max_batch_size: int
) -> list[Run]:
    """
    Run each image on its own, then the first two together if batches are allowed.

    Raises:
        GraphError: If the graph fails.
    """
    batches = [image[np.newaxis] for image in images]
    batches += [images[:2]] if max_batch_size > 1 else []
    return [Run(len(batch), _run(session, batch)) for batch in batches]


def _run(session: InferenceSession, batch: npt.NDArray[Any]) -> dict[str, Any]:
    names = [output.name for output in session.get_outputs()]
    try:
        values = session.run(names, {session.get_inputs()[0].name: batch})
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise GraphError(_failure(len(batch), f"fails: {one_line(error)}")) from error
    return dict(zip(names, values, strict=True))


def _failure(batch_size: int, what: str) -> str:
    hint = "; --max-batch-size 1 serves one image at a time" if batch_size > 1 else ""
    return f"at batch {batch_size} the graph {what}{hint}"


def choose_golden(
    scores: npt.NDArray[np.float32], given: int, count: int, tolerance: float
) -> npt.NDArray[np.int64]:
    """
    Choose the images to keep: those that are most clearly of one class.

    Args:
        scores: The reference's answers: `[N, classes]`.
        given: Number of images, the first ones, that the user gave; if any, only these are kept.
        count: Largest number to keep.
        tolerance: Smallest difference between images that counts, as a share of the range.

    Raises:
        ProofError: If the answers prove nothing: they are all alike, or not finite.
    """
    if not np.isfinite(scores).all():
        raise ProofError("the graph's answers to test images are not finite numbers")
    golden = select_clearest(scores[: given or None], count)
    if not tell_apart(scores, scores[golden], tolerance):
        raise ProofError(
            f"the graph gives {len(scores)} test images the same answer within {tolerance:.0e} of "
            "its range, which proves nothing: are --mean, --std and --normalization right? Was it "
            "exported in eval mode (PyTorch: model.eval())? --golden takes images of yours"
        )
    return golden


def tell_apart(
    scores: npt.NDArray[np.float32], golden: npt.NDArray[np.float32], tolerance: float
) -> bool:
    """Return whether *scores* of images differ by more than *tolerance* of *golden*'s range."""
    return bool(np.ptp(scores, axis=0).max() > tolerance * np.ptp(golden))


def prove(
    session: InferenceSession,
    images: npt.NDArray[Any],
    expected: Mapping[str, npt.NDArray[np.float32]],
    golden: npt.NDArray[np.int64],
    batch_sizes: Sequence[int],
    tolerance: float,
) -> float:
    """
    Compare *session*, in batches of each of *batch_sizes*, with the reference.

    Args:
        images: The test images: `[N, ...]`.
        expected: The reference's answers by output: `[N, classes]` each.
        golden: Indices of the images that a server will replay.

    Returns:
        The largest difference, as a share of the range of the golden answers.

    Raises:
        GraphError: If the graph fails.
        ProofError: If the difference exceeds *tolerance*, or a golden image gets another class.
    """
    # The last batch of a size is filled up from the beginning, so that all have this size.
    everything = np.arange(len(images))
    batches = [
        batch
        for size in batch_sizes
        for batch in np.resize(everything, (-(-len(images) // size), size))
    ]
    worst = 0.0
    run = functools.partial(run_scores, session, expected)
    for drift in replay(run, images, expected, batches, deciding=golden):
        _check(drift, tolerance)
        worst = max(worst, drift.share)
    return worst


def run_scores(
    session: InferenceSession, names: Collection[str], batch: npt.NDArray[Any]
) -> dict[str, Any]:
    """
    Run *batch*; return the outputs of *names*.

    Raises:
        GraphError: If one of them has not one item for each image, or the graph fails.
    """
    outputs = _run(session, batch)
    for name in names:
        if outputs[name].shape[:1] != (len(batch),):
            shape = list(outputs[name].shape)
            raise GraphError(
                _failure(len(batch), f"gives {name} of shape {shape}, not one per image")
            )
    return {name: outputs[name] for name in names}


def _check(drift: Drift, tolerance: float) -> None:
    if drift.exceeds(tolerance):
        raise ProofError(
            f"at batch {drift.batch_size} {drift.output} differ from those of one image without "
            f"optimisations by {drift.share:.1e} of their range; {tolerance:.0e} is allowed "
            "(--golden-tolerance)"
        )
    if not drift.same_classes:
        raise ProofError(
            f"at batch {drift.batch_size} a test image gets another class than on its own: "
            "give images whose class is clear with --golden"
        )
