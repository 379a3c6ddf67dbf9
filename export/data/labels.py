"""Files with the names of the classes: one per line, or JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from convoy.export.errors import DataError


def read_labels(path: Path) -> tuple[str, ...]:
    """
    Read the labels in *path*, in the order of the classes.

    A file `*.json` holds a list of labels, or a map from each class index to a label or to a pair
    whose last part is the label, as Keras's `imagenet_class_index.json`. Any other file holds one
    label per line; empty lines at its end do not count.

    Raises:
        DataError: If the file cannot be read or a label is missing; names it.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read the labels {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"the labels {path} are not UTF-8: {error.reason}") from error
    # The ending decides: a file of lines may begin with a bracket.
    labels = _from_json(path, text) if path.suffix.lower() == ".json" else _from_lines(text)
    if not labels:
        raise DataError(f"{path}: holds no labels")
    for index, label in enumerate(labels):
        if not isinstance(label, str) or not label.strip():
            raise DataError(f"{path}: the label of class {index} is {label!r}")
    return tuple(label.strip() for label in labels)


def _from_lines(text: str) -> list[Any]:
    return text.rstrip().split("\n")


def _from_json(path: Path, text: str) -> list[Any]:
    try:
        labels = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no JSON: {error}") from error
    # A map is put in order; of a pair such as [identifier, label] the last part is the label.
    if isinstance(labels, dict):
        labels = _by_index(path, labels)
    if not isinstance(labels, list):
        raise DataError(f"{path}: holds neither a list of labels nor a map from index to label")
    return [label[-1] if isinstance(label, list) and label else label for label in labels]


def _by_index(path: Path, labels: dict[str, Any]) -> list[Any]:
    """Return the values of *labels* in the order of its keys, which are `"0"` to `"N-1"`."""
    missing = [index for index in range(len(labels)) if str(index) not in labels]
    if missing:
        raise DataError(f"{path}: has {len(labels)} labels, but none of class {missing[0]}")
    return [labels[str(index)] for index in range(len(labels))]
