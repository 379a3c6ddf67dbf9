"""Tiny artifacts, made without PyTorch: real ONNX graphs whose answers are easy to predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from convoy.artifact.files import (
    GOLDEN_FILE,
    MODEL_FILE,
    file_sha256,
    read_manifest,
    write_golden,
    write_manifest,
)
from convoy.artifact.golden import TOLERANCES, Golden
from convoy.artifact.manifest import (
    InputTensor,
    Manifest,
    Memory,
    Normalization,
    OutputTensor,
    Preprocessing,
)
from convoy.artifact.repository import ModelRepository
from convoy.artifact.stores import Repository

SIDE = 4
CLASSES = 5
POISON = 200
"""First pixel from which on the poisonable graph fails its whole batch."""


def pixels(first: int, count: int = 1) -> np.ndarray:
    """Images whose first pixel is *first* and the rest black: uint8 `[count, 4, 4, 1]`."""
    images = np.zeros((count, SIDE, SIDE, 1), np.uint8)
    images[:, 0, 0, 0] = first
    return images


def answer(first: int) -> int:
    """The class that the graph gives an image of this first pixel."""
    return first % CLASSES


def graph(
    *,
    repeats: int = 0,
    poison: int = POISON,
    nothing: float = 0,
    softmax_axis: int = 1,
    probabilities: int = CLASSES,
    is_multi_label: bool = False,
    scores: Mapping[int, Sequence[float]] | None = None,
) -> onnx.ModelProto:
    """
    Return a graph that looks up its logits by the first pixel.

    Args:
        repeats: Matrix products of 256x256 done beside, per batch, to take time.
        poison: First pixel from which on it fails its whole batch; 256 for none.
        nothing: Factor of an error in the logits; 0 leaves them correct.
        softmax_axis: 1 is right.
        probabilities: Width of that output.
        is_multi_label: End in a sigmoid in place of a softmax.
        scores: Logits of single images, by their first pixel, in place of the usual ones.
    """
    table = np.zeros((poison, CLASSES), np.float32)
    table[np.arange(poison), np.arange(poison) % CLASSES] = 10
    scored = table.copy()
    for first, row in (scores or {}).items():
        scored[first] = row
    work = np.eye(256, dtype=np.float32)
    nodes = [
        helper.make_node("Cast", ["image"], ["wide"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["wide", "flat_shape"], ["flat"]),
        helper.make_node("Gather", ["flat", "zero"], ["first"], axis=1),
        helper.make_node("Gather", ["table", "first"], ["looked_up"], axis=0),
    ]
    # The products depend on the input, so that no optimiser removes them.
    nodes += [
        helper.make_node("ReduceSum", ["looked_up"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["work", "sum"], ["product0"]),
        *(
            helper.make_node("MatMul", [f"product{i}", "work"], [f"product{i + 1}"])
            for i in range(repeats)
        ),
        helper.make_node("ReduceSum", [f"product{repeats}"], ["total"], keepdims=0),
        helper.make_node("Mul", ["total", "nothing"], ["naught"]),
        helper.make_node("Gather", ["scored", "first"], ["own"], axis=0),
        helper.make_node("Add", ["own", "naught"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["soft"])
        if is_multi_label
        else helper.make_node("Softmax", ["logits"], ["soft"], axis=softmax_axis),
        helper.make_node("Gather", ["soft", "columns"], ["probabilities"], axis=1),
    ]
    constants: dict[str, np.ndarray] = {
        "flat_shape": np.array([-1, SIDE * SIDE], np.int64),
        "zero": np.array(0, np.int64),
        "table": table,
        "scored": scored,
        "work": work,
        "nothing": np.array(nothing, np.float32),
        "columns": np.arange(probabilities) % CLASSES,
    }
    body = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", SIDE, SIDE, 1])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", probabilities]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    return model


def large_graph(pad: int = 0) -> onnx.ModelProto:
    """The tiny graph with a megabyte that does nothing, and nodes that an optimiser removes."""
    model = graph()
    weight = np.full((512, 513 + pad), 1, np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "large"))
    model.graph.node.append(helper.make_node("ReduceSum", ["large"], ["sum_of_large"]))
    model.graph.node.append(helper.make_node("Mul", ["sum_of_large", "total"], ["unused"]))
    model.graph.output.append(helper.make_tensor_value_info("unused", onnx.TensorProto.FLOAT, None))
    return model


def write(
    root: Path | Repository,
    name: str = "tiny",
    *,
    model: onnx.ModelProto | None = None,
    golden: Golden | None = None,
    **changes: Any,
) -> Manifest:
    """
    Write a new version of a tiny artifact.

    Args:
        golden: Replaces the golden answers, which are right.
        changes: Replace fields of its manifest.
    """
    repository = ModelRepository(root) if isinstance(root, Path) else root
    with repository.writing(name) as (folder, version):
        onnx.save(model or graph(), folder / MODEL_FILE)
        write_golden(folder, golden or right_golden())
        hashes = {
            "model_sha256": file_sha256(folder / MODEL_FILE),
            "golden_sha256": file_sha256(folder / GOLDEN_FILE),
        }
        made = manifest(**({"name": name, "version": version} | hashes | changes))
        write_manifest(folder, made)
    return made


def renumber(folder: Path, number: int) -> Path:
    """Give the version in *folder* another number; return its folder."""
    written = read_manifest(folder)
    write_manifest(folder, written.model_copy(update={"version": number}))
    return folder.rename(folder.parent / str(number))


def write_multi_label(root: Path, name: str) -> Manifest:
    """Write a tiny artifact that ends in a sigmoid: 0.99995 for the class of an image, else 0.5."""
    right = right_golden()
    golden = Golden(right.images, (1 / (1 + np.exp(-right.logits))).astype(np.float32))
    output = OutputTensor(name="probabilities", kind="independent")
    model = graph(is_multi_label=True)
    return write(root, name, model=model, golden=golden, outputs=(output,))


def right_golden() -> Golden:
    """Four images and what the graph answers."""
    images = np.concatenate([pixels(first) for first in range(4)])
    logits = np.zeros((4, CLASSES), np.float32)
    logits[np.arange(4), [answer(first) for first in range(4)]] = 10
    return Golden(images, logits)


def manifest(**changes: Any) -> Manifest:
    """The manifest of a tiny artifact."""
    fields: dict[str, Any] = {
        "name": "tiny",
        "version": 1,
        "architecture": "tiny",
        "source": "made for tests",
        "labels": tuple(f"class {index}" for index in range(CLASSES)),
        "input": InputTensor(
            name="image", dtype="uint8", layout="NHWC", channels=1, height=SIDE, width=SIDE
        ),
        "outputs": (
            OutputTensor(name="logits", kind="logits"),
            OutputTensor(name="probabilities", kind="probabilities"),
        ),
        "preprocessing": Preprocessing(
            color="L", resize_px=SIDE, crop_height_px=SIDE, crop_width_px=SIDE
        ),
        "normalization": Normalization(mean=(0.5,), std=(0.5,), where="graph"),
        "max_batch_size": 8,
        "parameter_count": POISON * CLASSES,
        "macs": 1,
        "precision": "float32",
        "opset": 20,
        "memory": Memory(batch_size=8, weights_bytes=4000, arena_peak_bytes=1000),
        "golden_tolerance": TOLERANCES["float32"],
        "model_sha256": "0" * 64,
        "golden_sha256": "0" * 64,
        "tools": {"onnx": onnx.__version__},
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return Manifest(**(fields | changes))
