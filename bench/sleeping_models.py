"""The models of the measurements of front processes: a LeNet-5, and one of ResNet-50's shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from convoy.artifact.golden import Golden
from convoy.artifact.manifest import InputTensor, Normalization, OutputTensor, Preprocessing
from tests.harness import tiny
from tests.harness.lenet import add_version

CLASSES = 1000


def write_models(root: Path) -> None:
    """Write a LeNet-5, and an artifact in the place of ResNet-50."""
    add_version(root, "lenet5")
    images = np.zeros((1, 224, 224, 3), np.uint8)
    normalization = Normalization(mean=(0.5,) * 3, std=(0.5,) * 3, where="graph")
    tiny.write(
        root,
        "sleeping",
        model=_graph(),
        golden=Golden(images, np.zeros((1, CLASSES), np.float32)),
        labels=tuple(f"class {index}" for index in range(CLASSES)),
        input=InputTensor(
            name="image", dtype="uint8", layout="NHWC", channels=3, height=224, width=224
        ),
        outputs=(OutputTensor(name="logits", kind="logits"),),
        preprocessing=Preprocessing(
            color="RGB", resize_px=256, crop_height_px=224, crop_width_px=224
        ),
        normalization=normalization,
        max_batch_size=32,
    )


def _graph() -> Any:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Cast", ["image"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["wide", "axes"], ["largest"], keepdims=0),
        helper.make_node("MatMul", ["largest", "weights"], ["logits"]),
    ]
    constants: dict[str, np.ndarray] = {
        "axes": np.array([1, 2], np.int64),
        "weights": np.zeros((3, CLASSES), np.float32),
    }
    body = helper.make_graph(
        nodes,
        "sleeping",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 224, 224, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    return model
