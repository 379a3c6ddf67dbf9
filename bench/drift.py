"""`python -m bench.drift`: false alarms and misses of the drift metrics, by simulated cameras.

Images that the model was not trained on are divided at random, a hundred times: one half is the
baseline, the other a window of requests, as it is or changed as by a camera, a client or a
season. A change is found if the index of any signal is above 0.2.
"""

from __future__ import annotations

import argparse
import io
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageFilter
from sklearn.datasets import load_sample_images

from convoy.artifact.baseline import Histogram, histograms, stability_index
from convoy.artifact.files import Artifact
from convoy.artifact.repository import ModelRepository
from convoy.export import data
from convoy.export.baseline import signals_of
from convoy.export.data.split import Split

SPLITS = 100
"""Random divisions of the images."""

PHOTO_PARTS = 750
"""Parts of each photograph of scikit-learn's."""

ALARM = 0.2
"""The index of a large change, and of the alert."""

Signals = dict[str, npt.NDArray[np.float64]]


def _crop(image: Image.Image) -> Image.Image:
    width, height = image.size
    box = (width // 4, height // 4, width - width // 4, height - height // 4)
    return image.crop(box).resize(image.size, Image.Resampling.BILINEAR)


def _recolour(image: Image.Image) -> Image.Image:
    red, green, blue = image.convert("RGB").split()
    return Image.merge(
        "RGB", (red, green.point(lambda v: v * 3 // 4), blue.point(lambda v: v // 2))
    )


def _swap(image: Image.Image) -> Image.Image:
    red, green, blue = image.convert("RGB").split()
    return Image.merge("RGB", (blue, green, red))


CAMERAS: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "blurred (Gaussian, 1.5 px)": lambda image: image.filter(ImageFilter.GaussianBlur(1.5)),
    "darkened (to 60 %)": lambda image: ImageEnhance.Brightness(image).enhance(0.6),
    "rotated by 90 degrees": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "recoloured (green 75 %, blue 50 %)": _recolour,
    "cropped to the middle half": _crop,
    "BGR in place of RGB": _swap,
}
"""Changes of an image."""


class Found(NamedTuple):
    """
    The alarms of a change.

    Attributes:
        alarms: Share of the windows with one.
        largest: Largest index of any signal and window.
        signal: The signal whose index is largest in the median of the windows.
        median: That median.
    """

    alarms: float
    largest: float
    signal: str
    median: float


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.drift", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--model-repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--data", default="hard5k", help="photos: parts of two photographs")
    chosen = parser.parse_args()
    repository = ModelRepository(chosen.model_repository)
    artifact = repository.read(chosen.model, max(repository.versions(chosen.model)))
    for line in table(simulate(artifact, _load(chosen.data))):
        print(line)


def _load(name: str) -> Split:
    """Return images that no model was trained on."""
    if name != "photos":
        images = data.load(name)
        return images.validation + images.test
    random, sources, labels = np.random.default_rng(0), [], []
    for label, photo in enumerate(load_sample_images().images):
        for _ in range(PHOTO_PARTS):
            side = int(random.integers(100, 300))
            top, left = (int(random.integers(0, size - side)) for size in photo.shape[:2])
            buffer = io.BytesIO()
            Image.fromarray(photo[top : top + side, left : left + side]).save(buffer, "PNG")
            sources.append(buffer.getvalue())
            labels.append(label)
    return Split(sources, np.array(labels, np.int64))


def simulate(artifact: Artifact, images: Split, splits: int = SPLITS) -> dict[str, Found]:
    """Return what is found of each change, and of none, in windows of half of *images*."""
    plain = _measure(artifact, images)
    changed = {"none": plain}
    for name, change in CAMERAS.items():
        changed[name] = _measure(artifact, _changed(images, change))
    random = np.random.default_rng(0)
    orders = [random.permutation(len(images)) for _ in range(splits)]
    half = len(images) // 2
    found = {
        name: _judge(plain, values, [(order[:half], order[half:]) for order in orders])
        for name, values in changed.items()
    }
    # A third of the classes make most of the requests.
    favoured = np.isin(images.labels, np.unique(images.labels)[::3])
    mixed = []
    for order in orders:
        window = order[half:]
        kept = favoured[window] | (random.random(len(window)) < 0.25)
        mixed.append((order[:half], random.choice(window[kept], len(window))))
    return found | {"other mix of classes": _judge(plain, plain, mixed)}


def _measure(artifact: Artifact, images: Split) -> Signals:
    parts = defaultdict(list)
    for values in signals_of(artifact.model_path, artifact.manifest, images, {}, lambda *_: None):
        for signal, part in values.items():
            parts[signal].append(part)
    return {signal: np.concatenate(part) for signal, part in parts.items()}


def _changed(images: Split, change: Callable[[Image.Image], Image.Image]) -> Split:
    sources = []
    for index in range(len(images)):
        buffer = io.BytesIO()
        with Image.open(io.BytesIO(images.image(index))) as image:
            change(image).save(buffer, "PNG")
        sources.append(buffer.getvalue())
    return Split(sources, images.labels)


def _judge(
    plain: Signals, window: Signals, halves: Sequence[tuple[npt.NDArray[Any], npt.NDArray[Any]]]
) -> Found:
    indices = defaultdict(list)
    for expected, asked in halves:
        baseline = histograms({name: values[expected] for name, values in plain.items()})
        for signal, histogram in baseline.items():
            indices[signal].append(_index(signal, histogram, window[signal][asked]))
    largest = np.max(list(indices.values()), axis=0)
    medians = {signal: float(np.median(values)) for signal, values in indices.items()}
    signal = max(medians, key=lambda name: medians[name])
    return Found(float((largest > ALARM).mean()), float(largest.max()), signal, medians[signal])


def _index(signal: str, histogram: Histogram, values: npt.NDArray[np.float64]) -> float:
    return stability_index(histogram.counts, histogram.count(signal, values))


def table(found: Mapping[str, Found]) -> list[str]:
    """Return the lines of a Markdown table."""
    rows = [
        f"| {name} | {one.alarms:.0%} | {one.largest:.2f} | `{one.signal}`, {one.median:.2f} |"
        for name, one in found.items()
    ]
    return [
        "| change | windows with an alarm | largest signal | its index |",
        "|---|---|---|---|",
        *rows,
    ]


if __name__ == "__main__":
    main()
