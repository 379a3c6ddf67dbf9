"""The meaning of a data set's classes for a model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from convoy.export.errors import DataError

_WORDNET = re.compile(r"n\d{8}")
"""Names of ImageNet's folders, whose order is that of the classes of all public weights."""

_IMAGENET_CLASSES = 1000

_NAMED = 3


def class_indices(
    classes: Sequence[str], labels: Sequence[str], model: str, *, by_order: bool
) -> npt.NDArray[np.int64]:
    """
    Return the index in the output of *model*, whose *labels* are given, of each of *classes*.

    Raises:
        DataError: If the classes of the data are not those of the model.
    """
    known = {label: index for index, label in enumerate(labels)}
    counts = Counter(labels)
    # By their names; a test set need not have images of all classes.
    if not by_order and all(counts[name] == 1 for name in classes):
        return np.array([known[name] for name in classes])
    # By their order, where the user or ImageNet's own names say so.
    # Its parts, such as Imagenette, may be other classes than those of the model.
    is_imagenet = len(classes) == _IMAGENET_CLASSES and all(map(_WORDNET.fullmatch, classes))
    if (by_order or is_imagenet) and len(classes) == len(labels):
        return np.arange(len(labels))
    if by_order:
        count = len(classes)
        plural = "es" * (count != 1)
        raise DataError(f"the data has {count} class{plural}, and {model} has {len(labels)}")
    unknown = [name for name in classes if name not in known]
    if not unknown:
        shared = next(name for name in classes if counts[name] > 1)
        raise DataError(
            f"several classes of {model} have the label {shared!r}, so that a folder of this name "
            "may be of any of them; give --by-order if the folders, sorted by name, are its "
            "classes in their order"
        )
    rest = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
    raise DataError(
        f"{model} does not know the classes {', '.join(unknown[:_NAMED])}{rest}: name the folders "
        f"as its labels, such as {', '.join(labels[:_NAMED])}; or give --by-order if the folders, "
        "sorted by name, are its classes in their order"
    )
