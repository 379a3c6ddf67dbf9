"""The identities of two trainings: whether they are one, or in what they differ."""

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
"""The flags that decide facts, whose values are those of the flags."""

_WORDS = {
    "images": "the images of --data",
    "labels": "the classes of --data",
    "processes": "the number of processes",
    "preprocessing": "the preprocessing of the images (--input-px, --scaled-decoding, --weights)",
}
"""Other facts, whose values are too long to show, or no flag's."""


def is_same(there: object, here: Mapping[str, Any]) -> bool:
    """
    Return whether two identities are those of one training.

    An older convoy left out the kinds of a recipe's parts, such as that of its schedule; its
    training is continued if all else is the same.
    """
    return there in (here, _without_kinds(here))


def difference(there: object, here: Mapping[str, Any]) -> str:
    """Return the facts in which two identities differ, by their flags and with both values."""
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
    """Return the facts by their own names: those of a recipe beside those of the data."""
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
    """Return a value as its flag has it."""
    if name == "weights":
        return value[0] if value else "none"
    if name == "balance_classes":
        return value or "no"
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


def _without_kinds(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {name: _without_kinds(part) for name, part in value.items() if name != "kind"}
