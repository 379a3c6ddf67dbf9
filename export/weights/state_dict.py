"""State dicts: strict loading into a network, with or without the head."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from convoy.export.errors import WeightsError
from convoy.models import ARCHITECTURES

NAMED = 3
"""Number of keys of a kind that an error names before it counts the rest."""


def head_names(architecture: str) -> frozenset[str]:
    """Return the parameters whose shape depends on the number of classes."""
    build = ARCHITECTURES[architecture].build
    with torch.device("meta"):
        two, three = build(num_classes=2).state_dict(), build(num_classes=3).state_dict()
    return frozenset(name for name in two if two[name].shape != three[name].shape)


def parameter_names(architecture: str) -> list[str]:
    """Return the names in the state dict, without the counters that old files lack."""
    with torch.device("meta"):
        names = ARCHITECTURES[architecture].build(num_classes=2).state_dict()
    return [name for name in names if not name.endswith(".num_batches_tracked")]


def count_classes(architecture: str, state: Mapping[str, Tensor], source: str) -> int:
    """
    Return the number of classes of the weights *state*.

    Raises:
        WeightsError: If the last layer is missing.
    """
    # Heads that exist for training only come before the one that is used.
    with torch.device("meta"):
        order = list(ARCHITECTURES[architecture].build(num_classes=2).state_dict())
    last = max(head_names(architecture), key=order.index)
    if last not in state:
        raise WeightsError(f"{source} is not for {architecture}: it has no {last}")
    return len(state[last])


def load_into(
    network: nn.Module,
    state: Mapping[str, Tensor],
    source: str,
    new: frozenset[str] = frozenset(),
) -> None:
    """
    Load *state* into *network*; each key must be there, and none other.

    Args:
        source: Origin of the weights, for the error.
        new: Names that keep the values of *network*.

    Raises:
        WeightsError: If keys are missing or unknown, or shapes differ; names them.
    """
    own = network.state_dict()
    # torch makes this counter where an old file has none.
    counters = {name for name in own if name.endswith(".num_batches_tracked")}
    # Three kinds of misfit: too few names, too many, other shapes.
    known = state.keys() & own.keys()
    differing = [
        f"{name} {list(state[name].shape)}, wanted {list(own[name].shape)}"
        for name in own
        if name in known - new and state[name].shape != own[name].shape
    ]
    problems = {
        "missing": [name for name in own if name not in state.keys() | counters | new],
        "unknown": [name for name in state if name not in own],
        "of another shape": differing,
    }
    if any(problems.values()):
        text = "; ".join(f"{kind}: {_named(keys)}" for kind, keys in problems.items() if keys)
        raise WeightsError(f"{source} does not fit the network: {text}")
    kept = {name: state[name] for name in known - new}
    network.load_state_dict({**own, **kept})


def _named(keys: list[str]) -> str:
    rest = len(keys) - NAMED
    return ", ".join(keys[:NAMED]) + (f" and {rest} more" if rest > 0 else "")
