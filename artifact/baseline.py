"""`baseline.json`: what images and answers looked like when a version was made.

It lies beside the manifest. `convoy export` computes it from the validation images, `convoy import
--data` from given images, and `convoy baseline` from any images at any time. A server compares its
requests with it by the population stability index of each signal.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from convoy.artifact.errors import ArtifactError
from convoy.artifact.manifest import Manifest, Part, Sha256
from convoy.artifact.optional_files import OptionalFile, check_graph, read_optional_file
from convoy.artifact.whole_files import write_beside_graph

BASELINE_FILE = "baseline.json"

MIN_IMAGES = 500
"""
Fewest images of a baseline, and of a window that is compared with one.

With 500 against 500 images of the same distribution, the index is below 0.1 in 99 of 100 windows
(docs/how-to/drift.md; tests/unit/artifact/test_baseline.py repeats the simulation).
"""

BINS = 10
"""Bins of a signal with numbers, of equally many images of the baseline: the usual deciles."""

MAX_CLASSES = 100
"""Classes that are counted by themselves: those that the baseline has most of."""

IMAGES_PER_CLASS = 20
"""Fewest images of a class that is counted by itself: the shares of rarer ones are not known."""

CLASS = "class"
"""The signal of the most probable class; all others are numbers."""

SIGNALS = (
    *("confidence", "entropy", CLASS),
    *("brightness", "contrast", "sharpness", "warmth"),
    *("size", "aspect_ratio"),
)
"""The signals of images and answers, which `artifact/signals.py` computes."""

MAX_IMAGES = 2**53
"""Limit on the images in a bin: a float64 represents every integer up to it."""

Signals = Mapping[str, npt.NDArray[Any]]
"""Values by signal, `[N]` each; signals that images do not have are left out."""

Counts = npt.NDArray[np.int64]


class Histogram(Part):
    """
    Counts of a signal.

    Attributes:
        edges: Strictly ascending; bin i holds values in `[edges[i - 1], edges[i])`. For `class`,
            they are the indices of the classes that have a bin of their own; the last bin holds
            all others.
    """

    edges: tuple[float, ...]
    counts: tuple[Annotated[int, Field(ge=0, le=MAX_IMAGES)], ...]

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if len(self.counts) != len(self.edges) + 1:
            raise ValueError("a histogram needs one more bin than it has edges")
        if any(one >= other for one, other in pairwise(self.edges)):
            raise ValueError("the edges of a histogram must ascend strictly")
        return self

    def count(self, signal: str, values: npt.NDArray[Any]) -> Counts:
        """Count *values* in the bins: int64 `[bins]`."""
        edges = np.asarray(self.edges)
        if signal == CLASS:
            places = np.searchsorted(edges, values)
            # Classes without a bin, which lie between or behind those that have one.
            places[~np.isin(values, edges)] = len(edges)
        else:
            places = np.searchsorted(edges, values, side="right")
        return np.bincount(places, minlength=len(self.counts))


class Baseline(OptionalFile):
    """
    The content of `baseline.json`.

    Attributes:
        data: Name of the images, and of their part.
        data_sha256: SHA-256 of the images.
    """

    schema_version: Literal[1] = 1
    data: str
    data_sha256: Sha256
    images: int = Field(ge=MIN_IMAGES)
    signals: dict[str, Histogram]
    made_at: datetime

    @model_validator(mode="after")
    def _known_signals(self) -> Self:
        if unknown := self.signals.keys() - set(SIGNALS):
            raise ValueError(f"unknown signals: {', '.join(sorted(unknown))}")
        if any(edge < 0 or not edge.is_integer() for edge in self.classes):
            raise ValueError(f"the edges of {CLASS} must be class indices")
        return self

    @property
    def classes(self) -> tuple[float, ...]:
        """The indices of the classes that have a bin."""
        return self.signals[CLASS].edges if CLASS in self.signals else ()


def histograms(signals: Signals) -> dict[str, Histogram]:
    """Choose the bins of each signal by its values, and count these."""
    found = {}
    for name, values in signals.items():
        edges = _classes(values) if name == CLASS else _deciles(values)
        empty = Histogram(edges=edges, counts=(0,) * (len(edges) + 1))
        found[name] = Histogram(edges=edges, counts=tuple(empty.count(name, values).tolist()))
    return found


def _classes(values: npt.NDArray[Any]) -> tuple[float, ...]:
    classes, counts = np.unique(values, return_counts=True)
    largest = np.argsort(-counts, kind="stable")[:MAX_CLASSES]
    kept = largest[counts[largest] >= IMAGES_PER_CLASS]
    return tuple(float(one) for one in np.sort(classes[kept]))


def _deciles(values: npt.NDArray[Any]) -> tuple[float, ...]:
    inner = np.quantile(values.astype(np.float64), np.arange(1, BINS) / BINS, method="nearest")
    edges, times = np.unique(inner, return_counts=True)
    # A value that many images share, such as their size, gets a bin of its own, so that smaller
    # and larger ones are told from it.
    above = np.nextafter(edges[times > 1], np.inf)
    return tuple(np.unique(np.concatenate([edges, above])).tolist())


def stability_index(expected: npt.ArrayLike, found: npt.ArrayLike) -> float:
    """
    Return the population stability index of two histograms with the same bins, 0 if they agree.

    It is the sum of (q - p) ln(q / p) over the bins, p and q being shares of the images. What
    chance adds to it, (bins - 1) (1/n + 1/m) for n and m images (Yurdakul, 2018), is subtracted.
    By convention, an index above 0.1 is a small change, and above 0.2 a large one.
    """
    one, other = np.asarray(expected, np.float64), np.asarray(found, np.float64)
    n, m = one.sum(), other.sum()
    # Half an image in each bin, as the logarithm of an empty one is infinite.
    p, q = (one + 0.5) / (n + len(one) / 2), (other + 0.5) / (m + len(other) / 2)
    bins = int(((one + other) > 0).sum())
    by_chance = (bins - 1) * (1 / n + 1 / m)
    return max(0.0, float(((q - p) * np.log(q / p)).sum() - by_chance))


def read_baseline(folder: Path, manifest: Manifest) -> Baseline | None:
    """
    Read the baseline of the artifact in *folder*; return None if there is none to be used.

    Args:
        manifest: The manifest of the artifact.

    Raises:
        ArtifactError: If the file is damaged, describes another graph, or has classes without
            a label.
    """
    path = folder / BASELINE_FILE
    baseline = read_optional_file(path, Baseline)
    if baseline is not None:
        check_graph(path, baseline, manifest.model_sha256)
        _check_classes(path, baseline, len(manifest.labels))
    return baseline


def _check_classes(path: Path, baseline: Baseline, labels: int) -> None:
    if unknown := [f"{edge:g}" for edge in baseline.classes if edge >= labels]:
        raise ArtifactError(
            f"{path}: damaged: signals.{CLASS}.edges has {', '.join(unknown)}, but the class "
            f"indices of the model are 0 to {labels - 1}; remove it"
        )


def write_baseline(folder: Path, baseline: Baseline) -> None:
    """Write the baseline of the artifact in *folder*, atomically; it replaces another one."""
    write_beside_graph(folder, BASELINE_FILE, baseline.model_dump_json(indent=2) + "\n")
