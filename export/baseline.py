"""The baseline of a version: signals of images that it was not trained on, and of its answers."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from convoy.artifact import signals
from convoy.artifact.baseline import MIN_IMAGES, Baseline, histograms, write_baseline
from convoy.artifact.errors import ImageError
from convoy.artifact.files import MODEL_FILE
from convoy.artifact.golden import as_scores
from convoy.artifact.manifest import Manifest
from convoy.artifact.preprocess import TRAINING_LIMITS, image_to_input
from convoy.export.data.held_out import HeldOut
from convoy.export.data.split import Split
from convoy.export.errors import DataError
from convoy.export.onnx.session import open_session

MAX_IMAGES = 10_000
"""Maximum number of images of a baseline, chosen at random; more would change no decile by 0.01."""

_MOST_THREADS = 8

Show = Callable[[int, int], None]
"""Called with the number of images that are done, and of all."""


def write_first(
    folder: Path, manifest: Manifest, parts: Sequence[HeldOut], console: Console
) -> None:
    """
    Measure the new version in *folder* on the first of *parts* with enough images.

    The baseline becomes a file of the version. Report it to *console*, or that there is none.

    Raises:
        DataError: If an image cannot be decoded, or a file cannot be read.
        GraphError: If ONNX Runtime refuses the graph.
    """
    for part in parts:
        if len(part.images) < MIN_IMAGES:
            continue
        assert part.sha256 is not None  # their classes are known
        baseline, bad = measure(
            folder / MODEL_FILE,
            manifest,
            part.images,
            name=part.name,
            sha256=part.sha256,
            show=lambda done, total: None,
        )
        for index, reason in bad.items():
            source = part.images.sources[index]
            shown = source if isinstance(source, Path) else f"image {index} of {part.name}"
            raise DataError(f"{shown} cannot be decoded ({reason}): repair or remove it")
        write_baseline(folder, baseline)
        console.print(f"baseline for --drift: {baseline.images} images of {part.name}")
        return
    console.print(
        f"no baseline for --drift: convoy baseline makes one of {MIN_IMAGES} images or more that "
        "the model was not trained on"
    )


def measure(
    model_path: Path, manifest: Manifest, images: Split, *, name: str, sha256: str, show: Show
) -> tuple[Baseline, dict[int, str]]:
    """
    Run the graph at *model_path* on *images*, and count their signals.

    Args:
        name: Name of the images in the baseline.
        sha256: Hash of their content.

    Returns:
        The baseline, and the reasons why images were left out, by their index.

    Raises:
        DataError: If fewer than `MIN_IMAGES` can be used, or a file cannot be read.
        GraphError: If ONNX Runtime refuses the graph.
    """
    order = np.random.default_rng(0).permutation(len(images))[:MAX_IMAGES]
    chosen, bad = images.part(order.tolist()), dict[int, str]()
    found: defaultdict[str, list[npt.NDArray[Any]]] = defaultdict(list)
    for values in signals_of(model_path, manifest, chosen, bad, show):
        for signal, part in values.items():
            found[signal].append(part)
    counted = {signal: np.concatenate(parts) for signal, parts in found.items()}
    used = len(counted.get("confidence", ()))
    if used < MIN_IMAGES:
        raise DataError(
            f"{name} has {used} images that can be used; a baseline needs {MIN_IMAGES}, since "
            "fewer differ from each other by chance"
        )
    baseline = Baseline(
        model_sha256=manifest.model_sha256,
        data=name,
        data_sha256=sha256,
        images=used,
        signals=histograms(counted),
        made_at=datetime.now(UTC).replace(microsecond=0),
    )
    return baseline, {int(order[index]): reason for index, reason in bad.items()}


def signals_of(
    model_path: Path, manifest: Manifest, images: Split, bad: dict[int, str], show: Show
) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """Yield the signals of each batch; add images that cannot be used to *bad*."""
    session, size = open_session(model_path), manifest.max_batch_size

    def decoded(index: int) -> tuple[bytes, npt.NDArray[Any]] | str:
        data = images.image(index)
        try:
            return data, image_to_input(data, manifest, TRAINING_LIMITS)
        except ImageError as error:
            return str(error)

    # Decoders work outside Python's lock.
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as threads:
        for start in range(0, len(images), size):
            indices = range(start, min(start + size, len(images)))
            good = []
            for index, item in zip(indices, threads.map(decoded, indices), strict=True):
                if isinstance(item, str):
                    bad[index] = item
                else:
                    good.append(item)
            if good:
                batch = np.stack([item for _, item in good])
                (values,) = session.run([manifest.scores.name], {manifest.input.name: batch})
                encoded = [data for data, _ in good]
                yield signals.of_answers(as_scores(values), [batch], encoded, manifest)
            show(indices[-1] + 1, len(images))
