"""Data sets: encoded images with labels, in three disjoint parts.

Images stay encoded until `convoy.artifact.preprocess` decodes them, so that training and evaluation
see exactly what a server makes of the same bytes. A data set is named by one text:

* `mnist5k`: 5,000 digits that need no download;
* `hard5k`: the same digits in colour, scaled and moved, on cluttered and noisy grounds;
* `folder:PATH`: a folder with one sub-folder of images per class, or with such folders as its
  sub-folders `train` and `val`, or by other names of `folders.PARTS`;
* `mnist`, `cifar10`, `imagenette`, `imagenet`: torchvision's, in the folder `data`; `NAME:FOLDER`
  names another.
"""

from __future__ import annotations

from pathlib import Path

from convoy.export.data.digits import load_digits
from convoy.export.data.folders import IMAGE_SUFFIXES, counted, load_folder
from convoy.export.data.hard_digits import load_hard_digits
from convoy.export.data.readability import check_images
from convoy.export.data.split import DataSet, Split
from convoy.export.data.torchvision_sets import TORCHVISION_SETS, load_torchvision_set
from convoy.export.errors import DataError
from convoy.suggestion import suggest

DEFAULT_FOLDER = Path("data")
"""Folder of torchvision's sets, and of their downloads."""

_EMBEDDED = {"mnist5k": load_digits, "hard5k": load_hard_digits}


def check_name(name: str) -> None:
    """
    Check that *name* is that of a data set, without reading it.

    Raises:
        DataError: If it is not.
    """
    kind, colon, path = name.partition(":")
    # Sets that come with a package; folders; torchvision's sets, with or without a folder.
    is_folder = kind == "folder" and path
    is_torchvision = kind in TORCHVISION_SETS and (path or not colon)
    if not (name in _EMBEDDED or is_folder or is_torchvision):
        if name and Path(name).is_dir():  # Path("") is the working directory
            raise DataError(f"unknown data set {name!r}; did you mean folder:{name}?")
        known = [*_EMBEDDED, "folder:PATH", *TORCHVISION_SETS]
        raise DataError(f"unknown data set {name!r}; {suggest(name, known)}")


def load(name: str) -> DataSet:
    """
    Load the data set *name*; one of torchvision's is downloaded if it is missing and can be.

    Raises:
        DataError: If there is no such data set, it is not available, or it lacks images.
    """
    check_name(name)
    kind, _, path = name.partition(":")
    if name in _EMBEDDED:
        return _EMBEDDED[name]()
    if kind == "folder":
        return load_folder(Path(path))
    return load_torchvision_set(kind, Path(path) if path else DEFAULT_FOLDER)


__all__ = [
    "DEFAULT_FOLDER",
    "IMAGE_SUFFIXES",
    "DataSet",
    "Split",
    "check_images",
    "check_name",
    "counted",
    "load",
]
