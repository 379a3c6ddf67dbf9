"""The images of a conversion: a folder of them, or a data set whose classes are the model's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from convoy.artifact.manifest import Manifest
from convoy.export import data
from convoy.export.data import DataSet, Split
from convoy.export.data.classes import class_indices
from convoy.export.data.content import images_sha256
from convoy.export.data.folders import images_below
from convoy.export.data.held_out import HeldOut
from convoy.export.data.split import TEST_SHARE
from convoy.export.errors import DataError
from convoy.export.quantization.quantizing import Material

_SEED = 0
"""Seed of the choice among images: the same images give the same graph."""


def from_folder(folder: Path, calibration_count: int, test_count: int) -> Material:
    """
    Return images in and below *folder*, whose classes are not known.

    The ranges are found with some of them, and the graphs compared on the others: at least a fifth
    of them. A single image serves both, as the name of the test says.

    Args:
        test_count: Maximum number of images to compare on; 0 for all.

    Raises:
        DataError: If the folder cannot be read or holds no image.
    """
    paths = images_below(folder)
    images = _shuffled(Split(paths, np.zeros(len(paths), np.int64)))  # the labels are not used
    name = folder.resolve().name  # the rest of the path is this machine's
    if len(images) == 1:
        test = HeldOut(name=f"{name}, the image of the ranges", images=images, sha256=None)
        return Material(data=name, calibration=images, tests=[test])
    # Ranges fit the images that they were found with, which would flatter the comparison.
    aside = max(1, round(TEST_SHARE * len(images)))
    calibration = _first(images, min(calibration_count, len(images) - aside))
    others = images.part(range(len(calibration), len(images)))
    test = HeldOut(name=name, images=_first(others, test_count), sha256=None)
    return Material(data=name, calibration=calibration, tests=[test])


def from_data(
    name: str,
    manifest: Manifest,
    calibration_count: int,
    test_count: int,
    *,
    by_order: bool = False,
) -> Material:
    """
    Return images of the data set *name*: training images for the ranges, test images to compare on.

    Args:
        test_count: Maximum number of images to compare on; 0 for all.
        by_order: Take the classes of the data for those of *manifest* in their order.

    Raises:
        DataError: If there is no such data set, or its classes are not those of *manifest*.
    """
    if manifest.scores.kind == "independent":
        raise DataError(
            f"{manifest.name} gives an image several labels, and a folder per class states one: "
            "give the images without their classes, with --images"
        )
    found = _load(name)
    classes = class_indices(found.labels, manifest.labels, manifest.name, by_order=by_order)
    test = Split(found.test.sources, classes[found.test.labels])
    images = _first(_shuffled(test), test_count)
    return Material(
        data=f"{found.name}, training part",
        calibration=_first(_shuffled(found.train), calibration_count),
        tests=[
            HeldOut(
                name=f"{found.name}, test part",
                images=images,
                sha256=images_sha256(images, manifest.labels),
            )
        ],
    )


def _load(name: str) -> DataSet:
    try:
        return data.load(name)
    # Some sets come with a package, or are read by torchvision; folders need neither.
    except ModuleNotFoundError as error:
        raise DataError(
            f"the data set {name} needs the package {error.name} (pip install '.[export]' in "
            "convoy's folder); folder:PATH does not"
        ) from error


def _shuffled(images: Split) -> Split:
    return images.part(np.random.default_rng(_SEED).permutation(len(images)).tolist())


def _first(images: Split, count: int) -> Split:
    return images.part(range(min(count or len(images), len(images))))
