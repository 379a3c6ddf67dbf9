"""Files of weights: from whatever a training saved to the state dict of one network.

Trainings save the state dict by itself, or within a checkpoint beside the optimiser and the number
of the epoch, and under longer names if the network was wrapped. A file is only ever read as data:
no code in it is run.
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PosixPath, PurePosixPath
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convoy.export.errors import WeightsError
from convoy.export.weights.state_dict import parameter_names

_AVERAGES = re.compile(r"(^|[._])(ema|avg|averaged?)([._]|$)")
"""Marks the moving average of weights, as in `state_dict_ema`, `model_ema`, `ema_model.fc.bias`."""

_COMPILED = "_orig_mod."
"""Part that torch.compile adds to names, anywhere in them."""

_DEPTH = 3
"""Levels of a checkpoint in which state dicts are looked for."""

_multiarray: Any = getattr(np, "_core").multiarray  # noqa: B009 - stubs of NumPy hide it

_BESIDE_WEIGHTS = [
    *(argparse.Namespace, SimpleNamespace, defaultdict, PosixPath, PurePosixPath),
    *(np.dtype, np.ndarray, _multiarray.scalar, _multiarray._reconstruct),
    *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32, np.bool_)),
    # Names in files of Python 3.13 and of NumPy 1.
    (PosixPath, "pathlib._local.PosixPath"),
    (_multiarray.scalar, "numpy.core.multiarray.scalar"),
    (_multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),
]
"""Plain data that checkpoints hold beside weights: arguments and results. Making them runs no code
of the file's."""

_CLASS = re.compile(r"GLOBAL ([\w.]+)")
"""The class in torch's error about an object that only code could make."""

_REMEDY = "where it was trained, save torch.save(model.state_dict(), FILE)"


@dataclass(frozen=True, slots=True)
class _Candidate:
    """
    The parameters of one network in a file.

    Attributes:
        place: The keys that lead to them, and the prefix of their names, for messages.
        covered: Number of the network's parameters among them.
    """

    place: str
    state: Mapping[str, Tensor]
    covered: int

    @property
    def is_average(self) -> bool:
        return _AVERAGES.search(self.place) is not None


def read_state(architecture: str, path: Path) -> tuple[Mapping[str, Tensor], str]:
    """
    Read the parameters of *architecture* in the file *path*.

    A moving average is preferred to the weights that it is the average of.

    Returns:
        The state dict under the network's own names, and where in the file it was; empty for a file
        that holds nothing else.

    Raises:
        WeightsError: If the file cannot be read as data, or holds no state dict.
    """
    names = parameter_names(architecture)
    found = [
        candidate
        for place, state in _state_dicts(_load(path), "", _DEPTH)
        for candidate in _candidates(place, state, names)
    ]
    if not found:
        raise WeightsError(
            f"{path} holds no state dict: names of tensors, also not within a checkpoint; {_REMEDY}"
        )
    best = max(found, key=lambda one: (one.covered, one.is_average))
    return best.state, best.place


def _load(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return _load_safetensors(path)
        with torch.serialization.safe_globals(_BESIDE_WEIGHTS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except OSError as error:
        raise WeightsError(f"cannot read the weights {path}: {error.strerror}") from error
    except Exception as error:  # torch's errors for bytes that are not such a file
        raise WeightsError(_refusal(path, error)) from error


def _load_safetensors(path: Path) -> Any:
    try:
        from safetensors.torch import load_file
    except ModuleNotFoundError:
        raise WeightsError(
            f"{path} needs the package safetensors: pip install safetensors"
        ) from None
    return load_file(path)


def _refusal(path: Path, error: Exception) -> str:
    # An object: a whole network, or something else that was saved beside the weights.
    if found := _CLASS.search(str(error)):
        return (
            f"{path} holds no state dict that is safe to load: it contains {found[1]}, and making "
            f"one would run code; {_REMEDY}"
        )
    if "TorchScript" in str(error):
        return f"{path} holds no state dict but a TorchScript program; {_REMEDY}"
    return f"{path} holds no state dict that is safe to load: it is damaged, or not a PyTorch file"


def _state_dicts(value: Any, place: str, depth: int) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield the tensors of each dictionary in *value*, with the keys that lead to it."""
    if not isinstance(value, Mapping) or not depth:
        return
    items = {key: part for key, part in value.items() if isinstance(key, str)}
    tensors = {
        key.replace(_COMPILED, ""): part for key, part in items.items() if isinstance(part, Tensor)
    }
    if tensors:
        yield place, tensors
    for key, part in items.items():
        yield from _state_dicts(part, f"{place}.{key}".lstrip("."), depth - 1)


def _candidates(
    place: str, state: Mapping[str, Tensor], names: Collection[str]
) -> Iterator[_Candidate]:
    """Yield the parameters under each prefix with which some of the network's *names* occur."""
    prefixes = {
        key.removesuffix(name)
        for key in state
        for name in names
        if key == name or key.endswith(f".{name}")
    }
    # Names of an unknown kind: the refusal names them.
    for prefix in prefixes or {""}:
        inner = {
            key.removeprefix(prefix): part for key, part in state.items() if key.startswith(prefix)
        }
        # torch counts the updates of an average beside the weights.
        inner.pop("n_averaged", None)
        covered = len(inner.keys() & set(names))
        where = f"{place}.{prefix}".strip(".")
        # Other parts of a wrapper, such as a loss, have names without this prefix.
        yield _Candidate(where, inner, covered)
