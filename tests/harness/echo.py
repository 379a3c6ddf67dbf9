"""An artifact whose logits are pixels: each answer carries the identity of its image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from convoy.artifact.golden import Golden
from convoy.artifact.manifest import InputTensor, OutputTensor, Preprocessing
from tests.harness import tiny

SIDE = 64
READ = (0, 1, 2, SIDE * SIDE // 2, SIDE * SIDE - 1)
"""Pixels that are the logits: the first ones, one in the middle, and the last one."""


def image(identity: int) -> np.ndarray:
    """Return an image that is filled with the four bytes of *identity*: uint8 `[1, 64, 64, 1]`."""
    return np.frombuffer(identity.to_bytes(4, "little") * (SIDE * SIDE // 4), np.uint8).reshape(
        1, SIDE, SIDE, 1
    )


def logits(images: np.ndarray) -> np.ndarray:
    """Return the logits of images, float32 `[N, 5]`."""
    return images.reshape(len(images), -1)[:, READ].astype(np.float32)


MAX_BATCH_SIZE = 32


def write(root: Path, name: str = "echo") -> None:
    """Write a new version of the artifact."""
    images = np.concatenate([image(number) for number in (1, 2**31, 123456789)])
    tiny.write(
        root,
        name,
        model=_graph(),
        golden=Golden(images, logits(images)),
        input=InputTensor(
            name="image", dtype="uint8", layout="NHWC", channels=1, height=SIDE, width=SIDE
        ),
        max_batch_size=MAX_BATCH_SIZE,
        outputs=(OutputTensor(name="logits", kind="logits"),),
        preprocessing=Preprocessing(
            color="L", resize_px=SIDE, crop_height_px=SIDE, crop_width_px=SIDE
        ),
    )


def _graph() -> onnx.ModelProto:
    constants = {
        "flat_shape": np.array([-1, SIDE * SIDE], np.int64),
        "read": np.array(READ, np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["wide", "flat_shape"], ["flat"]),
        helper.make_node("Gather", ["flat", "read"], ["logits"], axis=1),
    ]
    body = helper.make_graph(
        nodes,
        "echo",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", SIDE, SIDE, 1])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(READ)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    return model
