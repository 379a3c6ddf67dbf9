"""Inputs and outputs for the clients of tritonclient."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from tests.conformance.target import Target
from tests.conformance.tensors import Tensor


def inputs(kind: ModuleType, tensors: list[Tensor], **options: bool) -> list[Any]:
    """Tensors as a client has them."""
    made = []
    for tensor in tensors:
        one = kind.InferInput(tensor.name, tensor.shape, tensor.datatype)
        one.set_data_from_numpy(tensor.values, **options)
        made.append(one)
    return made


def outputs(target: Target, result: Any) -> dict[str, Any]:
    """Outputs of a result, by name."""
    return {spec.name: result.as_numpy(spec.name) for spec in target.outputs}
