"""ONNX files: read whole, checked, and written unchanged where possible."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, TensorProto
from onnx.external_data_helper import (
    ExternalDataInfo,
    load_external_data_for_model,
    uses_external_data,
)

from convoy.export.errors import GraphError
from convoy.export.onnx.session import one_line

MAX_BYTES = 2**31 - 1
"""A protobuf message, and so an artifact's one file, cannot be larger."""

_LFS = b"version https://git-lfs"


@dataclass(slots=True, eq=False)
class Source:
    """
    A graph and the file that it comes from.

    Attributes:
        model: The graph with all its weights.
        path: The file that it was read from.
        is_changed: Whether *model* is no longer what the file holds.
        objection: The error of ONNX's own checker; empty if there is none.
    """

    model: onnx.ModelProto
    path: Path
    is_changed: bool
    objection: str

    def write(self, target: Path) -> None:
        """Write one file; a graph that needed no change keeps its bytes, and so its hash."""
        # Writing a parsed file anew would change its bytes even if nothing else changes.
        if self.is_changed:
            onnx.save(self.model, target)
        else:
            shutil.copyfile(self.path, target)

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        # A graph that imports no standard operators has version 1, by ONNX's specification.
        standard = (o.version for o in self.model.opset_import if o.domain in ("", "ai.onnx"))
        return next(standard, 1)

    @property
    def precision(self) -> Literal["float32", "float16", "int8"]:
        """Return the type that most of it is computed in."""
        operators = {node.op_type for node in self.model.graph.node}
        quantized = ("QuantizeLinear", "DequantizeLinear", "Integer")
        # Quantised, in any of ONNX's three forms: operators on bytes, pairs around float operators,
        # and integer products.
        if any(name.startswith("QLinear") or name.endswith(quantized) for name in operators):
            return "int8"
        # The larger part of the weights decides: some layers stay float32 in a float16 graph.
        weights: dict[int, int] = {TensorProto.FLOAT: 0, TensorProto.FLOAT16: 0}
        for tensor in tensors(self.model.graph):
            if tensor.data_type in weights:
                weights[tensor.data_type] += tensor_bytes(tensor)
        is_half = weights[TensorProto.FLOAT16] > weights[TensorProto.FLOAT]
        return "float16" if is_half else "float32"

    @property
    def description(self) -> str:
        """Return the file's name and its producer."""
        maker = f"{self.model.producer_name} {self.model.producer_version}".strip()
        return f"{self.path.name}, made by {maker}" if maker else self.path.name


def read(path: Path) -> Source:
    """
    Read an ONNX file and the files that hold its weights, if there are some.

    Raises:
        GraphError: If a file is missing, damaged, or too large for one protobuf message.
    """
    model = _load(path)
    # Their sizes are checked before they are read: they may be larger than the memory.
    external = [tensor for tensor in tensors(model.graph) if uses_external_data(tensor)]
    try:
        size = path.stat().st_size + sum(map(tensor_bytes, external))
    except KeyError as error:
        raise GraphError(f"{path}: a weight has the unknown type {error}") from error
    _check_size(path, size)
    try:
        for file in {path.parent / ExternalDataInfo(tensor).location for tensor in external}:
            _check_weights(path, file)
    except OSError as error:
        raise GraphError(f"cannot read the weights of {path}: {one_line(error)}") from error
    try:
        load_external_data_for_model(model, str(path.parent))
    except Exception as error:  # of onnx and of the file system
        raise GraphError(f"{path}: {one_line(error)}") from error
    return Source(model, path, is_changed=bool(external), objection=_objection(model))


def _objection(model: onnx.ModelProto) -> str:
    """
    Return the error of ONNX's checker for *model*; empty if there is none.

    It stops nothing: ONNX Runtime decides whether a graph can be served. ONNX Runtime accepts nodes
    in any order, the checker does not, and its own converter to float16 writes such graphs.
    """
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        return one_line(error)
    return ""


def _load(path: Path) -> onnx.ModelProto:
    """Parse *path*; the weights in other files are not read yet."""
    try:
        _check_size(path, path.stat().st_size)
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except OSError as error:
        raise GraphError(f"cannot read {path}: {error.strerror}") from error
    except DecodeError as error:
        _check_fetched(path)
        raise GraphError(f"{path} is not an ONNX file, or it is damaged") from error
    # Protobuf parses many other files without an error, as messages of unknown fields.
    if not model.graph.node:
        raise GraphError(f"{path} is not an ONNX file, or its graph is empty")
    return model


def _check_weights(path: Path, file: Path) -> None:
    """Refuse a *file* with the weights of *path* that is not there, or is no file of its own."""
    # As Hugging Face's cache has it; onnx follows no link, which could lead anywhere.
    if file.is_symlink():
        raise GraphError(
            f"{path}: its weights are in {file}, which is a symbolic link: copy the folder with "
            "`cp -rL`, which copies the files that links lead to"
        )
    if not file.exists():
        raise GraphError(f"{path}: its weights are in {file}, which does not exist: add the file")
    _check_fetched(file)


def _check_fetched(path: Path) -> None:
    """Refuse a file that Git LFS has not fetched yet."""
    with path.open("rb") as file:
        if file.read(len(_LFS)) == _LFS:
            raise GraphError(f"{path} is a pointer of Git LFS: fetch the file with `git lfs pull`")


def _check_size(path: Path, size_bytes: int) -> None:
    if not size_bytes:
        raise GraphError(f"{path}: the file is empty")
    if size_bytes > MAX_BYTES:
        raise GraphError(
            f"{path} has {size_bytes} bytes with its weights, but one ONNX file holds at most "
            f"{MAX_BYTES}"
        )


def tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yield all constants of *graph*: its initialisers, those in its nodes, and of graphs there."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            elif attribute.type == AttributeProto.GRAPH:
                yield from tensors(attribute.g)


def tensor_bytes(tensor: onnx.TensorProto) -> int:
    """Return the size of the values of *tensor*, wherever they are kept."""
    return math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
