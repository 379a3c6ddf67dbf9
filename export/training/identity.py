"""Comparison of the identities of two trainings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FLAGS = {
    "architecture": "NETWORK",
    "data": "--data",
    "train_on_validation": "--train-on-validation",
    "weights": "--weights",
    "head_epochs": "--head-epochs",
    "seed": "--seed",
    "epochs": "--epochs",
    "batch_size": "--batch-size",
    "learning_rate": "--learning-rate",
    "balance_classes": "--balance-classes",
    "patience": "--early-stopping",
}
"""The flags that set facts to their own values, by the names of the facts."""

_WORDS = {
    "images": "the images of --data",
    "labels": "the classes of --data",
    "processes": "the number of processes",
    "preprocessing": "the preprocessing of the images (--input-px, --scaled-decoding, --weights)",
}
"""Descriptions of other facts, whose values are too long to show or are set by no flag."""


def is_same(there: object, here: Mapping[str, Any]) -> bool:
    """
    Return whether two identities belong to the same training.

    An older convoy left out the kinds of a recipe's parts, such as that of its schedule; its
    training is continued if all else is the same.
    """
    return there in (here, _without_kinds(here))


def difference(there: object, here: Mapping[str, Any]) -> str:
    """Return the facts in which two identities differ, each with its flag and both values."""
    if not isinstance(there, dict):  # an older convoy kept a hash of them
        return "options, or in the version of convoy"
    old, new = _facts(there), _facts(here)
    texts = [
        _text(name, old.get(name), value)
        for name, value in new.items()
        if old.get(name) not in (value, _without_kinds(value))
    ]
    return ", ".join(texts)


def _facts(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return all facts in one dictionary: those of a recipe beside those of the data."""
    facts = dict(identity)
    recipe = facts.pop("recipe", None)
    if isinstance(recipe, dict):
        facts |= recipe
    optimizer = facts.get("optimizer")
    if isinstance(optimizer, dict) and "learning_rate" in optimizer:
        rest = {name: value for name, value in optimizer.items() if name != "learning_rate"}
        facts |= {"learning_rate": optimizer["learning_rate"], "optimizer": rest}
    return facts


def _text(name: str, there: object, here: object) -> str:
    if flag := _FLAGS.get(name):
        return f"{flag} ({_shown(name, there)} there, {_shown(name, here)} here)"
    return _WORDS.get(name, f"the recipe's {name.replace('_', ' ')}")


def _shown(name: str, value: Any) -> object:
    """Return a value in the form of its flag."""
    if name == "weights":
        return value[0] if value else "none"
    if name == "balance_classes":
        return value or "no"
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


def _without_kinds(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {name: _without_kinds(part) for name, part in value.items() if name != "kind"}
