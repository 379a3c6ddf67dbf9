"""The answers of a model to labelled images, from its artifact alone or through a server."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from convoy.artifact.errors import ImageError
from convoy.artifact.files import Artifact
from convoy.artifact.golden import as_scores, softmax
from convoy.artifact.manifest import Manifest
from convoy.artifact.preprocess import TRAINING_LIMITS, image_to_input
from convoy.client import Client
from convoy.commands.command_line import UsageError
from convoy.export.data.split import Split
from convoy.export.errors import DataError
from convoy.export.onnx.session import open_session
from convoy.results import Classification, ConvoyError

TOP = 5
"""Answers that are kept of each image."""

CALL_IMAGES = 32
"""Maximum number of images in one call of a server."""

CALL_BYTES = 8 << 20
"""Maximum size in bytes of several images in one call: half of what a server accepts by default."""

_MOST_THREADS = 8

Show = Callable[[int], None]
"""Called with the number of images that are done."""


@dataclass(frozen=True, slots=True)
class Answers:
    """
    The answers to a number of images.

    Attributes:
        best: Class indices by falling score: int64 `[N, k]`, k at most `TOP`; -1 in the rows of
            images whose scores hold NaN or infinity.
        confidence: Probability of the first: float64 `[N]`; 0 where it is not finite.
        bad: Indices of images that could not be decoded, which the arrays leave out, with reasons.
    """

    best: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    bad: dict[int, str]

    def without(self, indices: Collection[int]) -> Answers:
        """Return the answers but those to the images at *indices*, which include all of `bad`."""
        total = len(self.best) + len(self.bad)
        answered = (index for index in range(total) if index not in self.bad)
        rows = [row for row, index in enumerate(answered) if index not in indices]
        return Answers(self.best[rows], self.confidence[rows], {})


def check_single_label(manifest: Manifest) -> None:
    """Refuse a multi-label model, whose images may be of several classes; raises UsageError."""
    if manifest.scores.kind == "independent":
        raise multi_label_error(manifest.name)


def multi_label_error(name: str) -> UsageError:
    """Return the refusal of a multi-label model."""
    return UsageError(
        f"{name} is a multi-label model: its images may be of several classes, and those of "
        "folders are of one"
    )


def scores_of(
    artifact: Artifact, images: Split, show: Show
) -> Iterator[tuple[list[int], npt.NDArray[Any], dict[int, str]]]:
    """
    Yield, batch by batch, the indices, the scores and the undecodable images.

    The scores are those of `manifest.scores`, logits or probabilities: float64 `[N, classes]`.

    Raises:
        GraphError: If ONNX Runtime refuses the graph.
        DataError: If a file cannot be read.
        UsageError: If the model is multi-label.
    """
    manifest = artifact.manifest
    check_single_label(manifest)
    session = open_session(artifact.model_path)
    size = manifest.max_batch_size

    def decoded(index: int) -> npt.NDArray[Any] | str:
        try:
            return image_to_input(images.image(index), manifest, TRAINING_LIMITS)
        except ImageError as error:
            return str(error)

    # Decoders work outside Python's lock.
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as threads:
        for start in range(0, len(images), size):
            indices = range(start, min(start + size, len(images)))
            found = dict(zip(indices, threads.map(decoded, indices), strict=True))
            bad = {index: item for index, item in found.items() if isinstance(item, str)}
            good = [index for index in indices if index not in bad]
            batch = [found[index] for index in good]
            scores = np.empty((0, len(manifest.labels)))
            if good:
                inputs = {manifest.input.name: np.stack(batch)}
                (values,) = session.run([manifest.scores.name], inputs)
                scores = as_scores(values).astype(np.float64)
            yield good, scores, bad
            show(indices[-1] + 1)


def ask_artifact(artifact: Artifact, images: Split, show: Show) -> Answers:
    """Return the answers of the graph of *artifact*; raises as `scores_of`."""
    best, confidence, bad = [], [], dict[int, str]()
    for _, scores, refused in scores_of(artifact, images, show):
        bad |= refused
        finite = np.isfinite(scores).all(axis=1)
        safe = np.where(finite[:, None], scores, 0)
        shares = softmax(safe) if artifact.manifest.scores.kind == "logits" else safe
        # Ties go to the first class, as in the server.
        order = np.argsort(-safe, axis=1, kind="stable")[:, :TOP]
        best.append(np.where(finite[:, None], order, -1))
        confidence.append(np.where(finite, shares.max(axis=1), 0))
    return Answers(np.concatenate(best), np.concatenate(confidence).clip(0, 1), bad)


def ask_server(
    client: Client, model: str, version: int, classes: int, images: Split, show: Show
) -> Answers:
    """
    Return the answers of a server's *model*, which has so many *classes*.

    Raises:
        ConvoyError: If it refuses a call, or an image for another reason than the image itself.
        DataError: If a file cannot be read.
    """
    best, confidence, bad = [], [], dict[int, str]()
    top_k = min(TOP, classes)

    def ask(call: Sequence[tuple[int, bytes]]) -> list[Classification | ConvoyError]:
        encoded = [image for _, image in call]
        try:
            return client.classify_batch(encoded, model=model, version=version, top_k=top_k)
        except ConvoyError as error:
            if not _is_too_large(error):
                raise
            # The limit of the server may be lower than the usual one.
            half = len(call) // 2
            return [*ask(call[:half]), *ask(call[half:])] if half else [error]

    for call in _calls(images):
        for (index, _), answer in zip(call, ask(call), strict=True):
            if isinstance(answer, Classification):
                best.append([prediction.class_index for prediction in answer.predictions])
                confidence.append(answer.probability)
            elif answer.reason in ("INVALID_IMAGE", "IMAGE_TOO_LARGE") or _is_too_large(answer):
                bad[index] = answer.message
            elif answer.reason == "SCORES_NOT_FINITE":
                best.append([-1] * top_k)
                confidence.append(0.0)
            else:
                raise answer
        show(call[-1][0] + 1)
    return Answers(
        np.array(best, np.int64).reshape(-1, top_k), np.array(confidence, np.float64), bad
    )


def _calls(images: Split) -> Iterator[list[tuple[int, bytes]]]:
    """Yield the images with their indices, as many as one call takes; one may be of any size."""
    call: list[tuple[int, bytes]] = []
    size = 0
    for index in range(len(images)):
        image = images.image(index)
        if call and (len(call) == CALL_IMAGES or size + len(image) > CALL_BYTES):
            yield call
            call, size = [], 0
        call.append((index, image))
        size += len(image)
    if call:
        yield call


def _is_too_large(error: ConvoyError) -> bool:
    """Return whether a server refuses a call for its size."""
    # grpcio itself refuses such a message without a reason.
    without_reason = error.code == "RESOURCE_EXHAUSTED" and not error.reason
    return error.reason == "REQUEST_TOO_LARGE" or without_reason


def refuse_bad(images: Split, names: Sequence[str], bad: dict[int, str], *, skip: bool) -> None:
    """Refuse undecodable images unless they are to be left out; raises DataError."""
    if not bad or skip:
        return
    index, reason = next(iter(bad.items()))
    rest = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
    raise DataError(
        f"{names[index]}{rest} cannot be decoded ({reason}): repair or remove them, or leave them "
        "out with --skip-bad-images"
    )
