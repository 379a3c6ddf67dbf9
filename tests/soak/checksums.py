"""A model whose scores are checksums of its images, so that every right answer is known exactly.

A score is the sum of an image's pixels, each multiplied by a whole number. All sums are below 2^24,
so that float32 holds them exactly in whatever order they are added, and in whichever batch. The
numbers differ from version to version: an answer tells which version gave it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from convoy.artifact.golden import Golden
from convoy.artifact.manifest import InputTensor, OutputTensor, Preprocessing
from convoy.pb.inference import grpc_service_pb2 as pb
from tests.harness import tiny

SIDE = 32
PIXELS = SIDE * SIDE
CLASSES = 10
OUTPUT = "probabilities"

LARGEST_WEIGHT = 63
"""A sum of 1,024 pixels of at most 255, each multiplied by at most this, is below 2^24."""

SCALE = 2.0**-24
"""A power of two, so that the product with it is exact; scores are in `[0, 1)`."""

IMAGES = np.random.default_rng(0).integers(0, 256, (64, SIDE, SIDE, 1), np.uint8)
"""The images that are sent."""

MAX_BATCH_SIZE = 32


def weights(version: int) -> npt.NDArray[np.int64]:
    """Return the whole numbers that a version multiplies pixels with: `[PIXELS, CLASSES]`."""
    return np.random.default_rng(version).integers(1, LARGEST_WEIGHT + 1, (PIXELS, CLASSES))


def scores(images: npt.NDArray[np.uint8], version: int) -> npt.NDArray[np.float32]:
    """Return a version's answers to images `[N, SIDE, SIDE, 1]`: `[N, CLASSES]`."""
    sums = images.reshape(-1, PIXELS).astype(np.int64) @ weights(version)
    return (sums * SCALE).astype(np.float32)


def write(root: Path, name: str, versions: int = 1) -> Checksums:
    """Write so many versions of the model into a repository."""
    hashes = []
    for version in range(1, versions + 1):
        golden = Golden(IMAGES[:4], scores(IMAGES[:4], version))
        manifest = tiny.write(
            root,
            name,
            model=_graph(version),
            golden=golden,
            labels=tuple(f"class {index}" for index in range(CLASSES)),
            input=InputTensor(
                name="image", dtype="uint8", layout="NHWC", channels=1, height=SIDE, width=SIDE
            ),
            outputs=(OutputTensor(name=OUTPUT, kind="probabilities"),),
            preprocessing=Preprocessing(
                color="L", resize_px=SIDE, crop_height_px=SIDE, crop_width_px=SIDE
            ),
            max_batch_size=MAX_BATCH_SIZE,
            parameter_count=PIXELS * CLASSES,
            macs=PIXELS * CLASSES,
        )
        hashes.append(manifest.model_sha256)
    return Checksums(name, tuple(hashes))


@dataclass(frozen=True)
class Checksums:
    """
    A model in a repository: requests for it, and the right answers to them.

    Attributes:
        name: Its name.
        sha256: The hashes of its versions, which are numbered from 1.
    """

    name: str
    sha256: tuple[str, ...]

    @cached_property
    def scores(self) -> list[npt.NDArray[np.float32]]:
        """The scores of `IMAGES`, by version: `[len(IMAGES), CLASSES]` each."""
        return [scores(IMAGES, version) for version in range(1, len(self.sha256) + 1)]

    def request(self, images: Sequence[int], version: int = 0) -> pb.ModelInferRequest:
        """Return a request of raw pixels; *version* 0 asks for the one that is served."""
        batch = IMAGES[list(images)]
        request = pb.ModelInferRequest(
            model_name=self.name, model_version=str(version) if version else ""
        )
        request.inputs.add(name="image", datatype="UINT8", shape=batch.shape)
        request.raw_input_contents.append(batch.tobytes())
        return request

    def answers(self, images: Sequence[int], version: int = 0) -> list[bytes]:
        """Return the encoded response of each version that may answer such a request."""
        asked = [version] if version else range(1, len(self.sha256) + 1)
        return [self._answer(images, one) for one in asked]

    def check(self, images: Sequence[int], version: int, answer: pb.ModelInferResponse) -> None:
        """
        Compare an answer with the right ones.

        Raises:
            ValueError: If it is none of them.
        """
        if answer.SerializeToString() not in self.answers(images, version):
            raise ValueError(f"{self.name}, images {list(images)}: {describe(answer)}")

    def _answer(self, images: Sequence[int], version: int) -> bytes:
        right = self.scores[version - 1][list(images)]
        response = pb.ModelInferResponse(model_name=self.name, model_version=str(version))
        response.parameters["model_sha256"].string_param = self.sha256[version - 1]
        response.outputs.add(name=OUTPUT, datatype="FP32", shape=right.shape)
        response.raw_output_contents.append(right.tobytes())
        encoded: bytes = response.SerializeToString()
        return encoded


def describe(answer: pb.ModelInferResponse) -> str:
    """Return which version's scores each row of an answer holds, in words."""
    rows = np.frombuffer(b"".join(answer.raw_output_contents), np.float32).reshape(-1, CLASSES)
    told = []
    for row, version in product(rows, (1, 2)):
        (matches,) = np.nonzero((scores(IMAGES, version) == row).all(axis=1))
        told += [f"image {match} by version {version}" for match in matches]
    return f"said to be version {answer.model_version}'s; {len(rows)} rows: {', '.join(told)}"


def _graph(version: int) -> onnx.ModelProto:
    constants: dict[str, npt.NDArray[np.generic]] = {
        "flat": np.array([-1, PIXELS], np.int64),
        "weights": weights(version).astype(np.float32),
        "scale": np.array(SCALE, np.float32),
    }
    body = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("Reshape", ["pixels", "flat"], ["rows"]),
            helper.make_node("MatMul", ["rows", "weights"], ["sums"]),
            helper.make_node("Mul", ["sums", "scale"], [OUTPUT]),
        ],
        "checksums",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", SIDE, SIDE, 1])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    return model
