"""Files with the names of the classes: one per line, JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from convoy.export.errors import DataError

LABEL_KEYS = ("id2label", "label_names", "names", "labels", "classes", "label2id")
"""Names under which documents of transformers, timm and Ultralytics hold their labels."""


def read_labels(path: Path) -> tuple[str, ...]:
    """
    Read the labels in *path*, in the order of the classes.

    A file `*.json` holds a list of labels, or a map from each class index to a label or to a pair
    whose last part is the label, as Keras's `imagenet_class_index.json`; or a map from each label
    to its index; or one of these under a name of `LABEL_KEYS`, as the `config.json` of transformers
    and timm. A file `*.csv` has a row for each class, in any order, that begins with its index and
    ends with its label; a first row without an index is a header; or it has one column, of labels.
    Any other file holds one label per line; empty lines at its end do not count.

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
    match path.suffix.lower():
        case ".json":
            labels = _from_json(path, text)
        case ".csv":
            labels = _from_csv(path, text)
        case _:
            labels = _from_lines(text)
    return checked_labels(str(path), labels)


def checked_labels(name: str, labels: list[Any]) -> tuple[str, ...]:
    """
    Return *labels* without spaces around them.

    Raises:
        DataError: If there are none, or one is no text or empty; names the place *name*.
    """
    if not labels:
        raise DataError(f"{name}: holds no labels")
    for index, label in enumerate(labels):
        if not isinstance(label, str) or not label.strip():
            raise DataError(f"{name}: the label of class {index} is {label!r}")
    return tuple(label.strip() for label in labels)


def _from_lines(text: str) -> list[Any]:
    return text.rstrip().split("\n")


def _from_csv(path: Path, text: str) -> list[Any]:
    try:
        rows = [row for row in csv.reader(io.StringIO(text)) if any(row)]
    except csv.Error as error:
        raise DataError(f"{path} is not valid CSV: {error}") from error
    if all(len(row) == 1 for row in rows):
        return [row[0] for row in rows]
    if not _is_index(rows[0][0]):
        del rows[0]
    labels: dict[str, Any] = {}
    for row in rows:
        if len(row) == 1 or not _is_index(row[0]):
            raise DataError(
                f"{path}: the row {','.join(row)!r} does not begin with the index of a class and "
                "end with its label"
            )
        if labels.setdefault(str(int(row[0])), row[-1]) != row[-1]:
            raise DataError(f"{path}: class {row[0].strip()} has several labels")
    return _by_index(str(path), labels)


def _is_index(text: str) -> bool:
    text = text.strip()
    return text.isascii() and text.isdecimal()


def _from_json(path: Path, text: str) -> list[Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {error}") from error
    labels = labels_under_key(str(path), document)
    if labels is None:
        labels = labels_of(str(path), document)
    if labels is None:
        raise DataError(
            f"{path}: holds neither a list of labels nor a map from index to label, also not under "
            f"{', '.join(LABEL_KEYS)}"
        )
    return labels


def labels_under_key(name: str, document: Any) -> list[Any] | None:
    """
    Return the labels that *document* holds under one of `LABEL_KEYS`; None if there are none.

    Raises:
        DataError: If a class of a map has no label; names the place *name*.
    """
    for key in LABEL_KEYS if isinstance(document, dict) else ():
        if (labels := labels_of(name, document.get(key))) is not None:
            return labels
    return None


def labels_of(name: str, value: Any) -> list[Any] | None:
    """
    Return the labels in *value*, a list or a map in either direction; None if it is neither.

    Raises:
        DataError: If a class of a map has no label, or several; names the place *name*.
    """
    if isinstance(value, dict):
        # YAML and Python have numbers as keys.
        value = {str(key): label for key, label in value.items()}
        # A map from label to index is turned around.
        if value and all(type(index) is int for index in value.values()):
            value = _turned_around(name, value)
        if not all(str(index).isdecimal() for index in value):
            return None
        value = _by_index(name, value)
    if not isinstance(value, list):
        return None
    # Of a pair such as [identifier, label] the last part is the label.
    return [label[-1] if isinstance(label, list) and label else label for label in value]


def _turned_around(name: str, indices: dict[str, int]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for label, index in indices.items():
        other = labels.setdefault(str(index), label)
        if other != label:
            raise DataError(f"{name}: the labels {other!r} and {label!r} are both of class {index}")
    return labels


def _by_index(name: str, labels: dict[str, Any]) -> list[Any]:
    """Return the values of *labels* in the order of its keys, which are `"0"` to `"N-1"`."""
    missing = [index for index in range(len(labels)) if str(index) not in labels]
    if missing:
        raise DataError(f"{name}: has {len(labels)} labels, but none of class {missing[0]}")
    return [labels[str(index)] for index in range(len(labels))]
