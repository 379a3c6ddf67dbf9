"""The model of a race and the request for it, the same for every server."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from convoy.artifact.files import read_artifact
from convoy.pb.inference import grpc_service_pb2 as pb

INFER_PATH = "/inference.GRPCInferenceService/ModelInfer"


@dataclass(frozen=True, slots=True)
class Model:
    """
    One network of the race.

    Attributes:
        name: Its name, on every server.
        path: The ONNX file.
        shape: Shape of one image.
        outputs: Names and item shapes of its outputs.
        max_batch_size: Largest batch, on every server that makes batches.
        threads: Intra-op threads, on every server.
        images: Images in a request.
    """

    name: str
    path: Path
    shape: tuple[int, ...]
    outputs: tuple[tuple[str, int], ...]
    max_batch_size: int
    threads: int
    images: int = 1

    @classmethod
    def read(cls, root: Path, name: str, *, threads: int) -> Model:
        """Read an artifact of *root*."""
        artifact = read_artifact(root / name / "1")
        manifest = artifact.manifest
        classes = len(manifest.labels)
        return cls(
            name=name,
            path=artifact.model_path.resolve(),
            shape=manifest.input.item_shape,
            outputs=tuple((output.name, classes) for output in manifest.outputs),
            max_batch_size=manifest.max_batch_size,
            threads=threads,
        )

    def int8(self) -> Model:
        """Return the int8 version of this network, which stands beside it."""
        name = f"{self.name}_int8"
        path = self.path.parents[2] / name / "1" / self.path.name
        return replace(self, name=name, path=path)

    def image(self) -> npt.NDArray[np.uint8]:
        """Return the image of noise that every request holds, once or several times."""
        return np.random.default_rng(0).integers(0, 256, self.shape, np.uint8)

    def message(self) -> pb.ModelInferRequest:
        """Return the request in the Open Inference Protocol."""
        request = pb.ModelInferRequest(model_name=self.name)
        request.inputs.add(name="image", datatype="UINT8", shape=[self.images, *self.shape])
        request.raw_input_contents.append(self.images * self.image().tobytes())
        return request


def framed(message: bytes) -> bytes:
    """Return *message* in gRPC's frame: a flag, its length, its bytes."""
    return struct.pack(">BI", 0, len(message)) + message
