"""A small convolutional classifier of coloured images, its artifact, and folders of such images.

It has what trips a quantiser: batch norms that are not folded, a shortcut, branches that are
joined, nodes without names, and old operators. Its last layer is fitted by least squares.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from PIL import Image
from rich.console import Console

from convoy.artifact.files import Artifact
from convoy.artifact.repository import ModelRepository
from convoy.export.importing.import_settings import ImportSettings
from convoy.export.importing.importer import import_model

LABELS = ("blue", "green", "red")
SIDE = 16

_FEATURES = f"""
<ir_version: 7, opset_import: ["" : 11]>
colours (float[N,3,{SIDE},{SIDE}] pixels) => (float[N,16] features)
{{
    a0 = Conv <pads = [1, 1, 1, 1]> (pixels, w_a)
    a1 = BatchNormalization (a0, scale_a, shift_a, mean_a, var_a)
    a2 = Relu (a1)
    a3 = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (a2)
    b0 = Conv <pads = [1, 1, 1, 1]> (a3, w_b)
    b1 = BatchNormalization (b0, scale_b, shift_b, mean_b, var_b)
    b2 = Add (b1, a3)
    b3 = Relu (b2)
    c0 = Conv (b3, w_c)
    c1 = BatchNormalization (c0, scale_c, shift_c, mean_c, var_c)
    c2 = Relu (c1)
    d0 = Conv <pads = [1, 1, 1, 1]> (b3, w_d)
    d1 = BatchNormalization (d0, scale_d, shift_d, mean_d, var_d)
    d2 = Relu (d1)
    e = Concat <axis = 1> (c2, d2)
    means = GlobalAveragePool (e)
    features = Flatten (means)
}}
"""
_KERNELS = {"a": (8, 3, 3, 3), "b": (8, 8, 3, 3), "c": (8, 8, 1, 1), "d": (8, 8, 3, 3)}


def classifier(outlier: float = 1, branches: str = "d") -> onnx.ModelProto:
    """
    Return a float32 graph from `[N, 3, 16, 16]` to probabilities, of opset 11.

    Args:
        outlier: Factor of one feature in each of *branches* that decides nothing. A large one
            leaves the others few of 256 levels.
        branches: `d`, or `cd` for both branches before the last layer.
    """
    model = onnx.parser.parse_model(_FEATURES)
    random = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {}
    for name, shape in _KERNELS.items():
        weights[f"w_{name}"] = random.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape)
        weights[f"scale_{name}"] = random.uniform(0.5, 1.5, shape[0])
        weights[f"shift_{name}"] = random.uniform(0, 0.5, shape[0])
        weights[f"mean_{name}"] = random.normal(0, 0.1, shape[0])
        weights[f"var_{name}"] = random.uniform(0.5, 1.5, shape[0])
    for name in "cd":
        weights[f"mean_{name}"][-1] = -5  # an outlier is never cut off by its Relu
    _add_weights(model, weights)
    images = np.concatenate([pixels_of(label, 40) for label in range(len(LABELS))])
    (found,) = ReferenceEvaluator(model).run(None, {"pixels": to_batch(images)})
    features = np.asarray(found)
    # The last feature of each branch may become an outlier, and decides nothing.
    features[:, 7], features[:, -1] = 0, 1
    targets = 8 * np.eye(len(LABELS))[np.arange(len(LABELS)).repeat(40)]
    fitted = np.linalg.lstsq(features, targets, rcond=None)[0]
    bias = fitted[-1].copy()
    fitted[-1] = 0
    _add_weights(model, {"w_e": fitted, "b_e": bias})
    for tensor in model.graph.initializer:
        if tensor.name in {f"{kind}_{name}" for kind in ("scale", "shift") for name in branches}:
            values = numpy_helper.to_array(tensor).copy()
            values[-1] *= outlier
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    model.graph.node.extend(
        [
            helper.make_node("MatMul", ["features", "w_e"], ["products"]),
            helper.make_node("Add", ["products", "b_e"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ]
    )
    del model.graph.output[:]
    model.graph.output.append(
        helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["N", len(LABELS)])
    )
    onnx.checker.check_model(model)
    return model


def imported(root: Path, model: onnx.ModelProto) -> Artifact:
    """Import *model* into the repository *root* as `colours`."""
    file = root.parent / "colours.onnx"
    onnx.save(model, file)
    labels = root.parent / "labels.txt"
    labels.write_text("\n".join(LABELS))
    settings = {"file": file, "labels": labels, "name": "colours", "model_repository": root}
    import_model(ImportSettings.model_validate(settings), Console(quiet=True))
    return ModelRepository(root).read("colours", 1)


def write_images(folder: Path, count: int, seed: int = 1) -> Path:
    """Write *count* images of each class below *folder*, a folder per class; return *folder*."""
    for index, label in enumerate(LABELS):
        (folder / label).mkdir(parents=True)
        for number, pixels in enumerate(pixels_of(index, count, seed)):
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    return folder


def pixels_of(label: int, count: int, seed: int = 0) -> np.ndarray:
    """Return noise in which one channel is brighter: uint8 `[count, 16, 16, 3]`."""
    random = np.random.default_rng((seed, label))
    means = np.full(3, 100.0)
    means[2 - label] += 80
    noise = random.normal(means, 40, (count, SIDE, SIDE, 3))
    return noise.clip(0, 255).astype(np.uint8)


def to_batch(images: np.ndarray) -> np.ndarray:
    """Return the graph's input for images: float32 `[N, 3, 16, 16]`."""
    return (images / 255).transpose(0, 3, 1, 2).astype(np.float32)


def _add_weights(model: onnx.ModelProto, weights: dict[str, np.ndarray]) -> None:
    for name, values in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
