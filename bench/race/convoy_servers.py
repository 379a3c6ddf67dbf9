"""convoy in the race, as it is used, and in the variants that it is compared with."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import grpc
import numpy as np
import trustme
from PIL import Image, ImageFilter

from bench.race.raced_model import Model
from bench.race.servers import OverGrpc
from convoy.pb.inference import grpc_service_pb2 as pb
from tests.harness.lenet import add_version
from tests.harness.process import Process

OTHER_MODELS = 9
"""Models loaded beside the one that gets the load."""

PHOTO_SIZE = 500, 375
"""Width and height of ImageNet's most common photograph, in pixels."""


class Convoy(OverGrpc):
    """convoy with grpcio."""

    name = "convoy, grpcio"
    module: ClassVar[str] = "convoy"
    transport: ClassVar[str] = "grpcio"

    def _start(self, log: Path) -> Process:
        command = [
            *(str(self.python), "-m", self.module, "serve", "--host", "127.0.0.1"),
            *("--device", "cpu"),
            *("--grpc-port", str(self.grpc_port), "--http-port", str(self.http_port)),
            *("--graph-cache", "", "--shutdown-grace-s", "0", "--transport", self.transport),
            *self._options(),
        ]
        return Process(command, log)

    def _options(self) -> Sequence[str]:
        repository = self.model.path.parent.parent.parent
        explicit = ("--model-control-mode", "explicit", "--load-model", self.model.name)
        return ("--model-repository", str(repository), *explicit)


class ConvoyNative(Convoy):
    """convoy with the native transport."""

    name = "convoy, native"
    transport = "native"


class ConvoyInt8(ConvoyNative):
    """convoy with the native transport, serving the int8 version of the float32 network."""

    name = "convoy, native, int8"
    # The networks have random weights, whose logits lie close together.
    tolerance = 0.3

    def __init__(self, model: Model, python: Path, folder: Path) -> None:
        super().__init__(model.int8(), python, folder)


class OpenVino(ConvoyNative):
    """convoy with the native transport, in an environment with OpenVINO."""

    name = "convoy, native, OpenVINO"
    requirements = ("--constraint", "constraints.txt", "--editable", ".[openvino,fast]")

    def _options(self) -> Sequence[str]:
        return (*super()._options(), "--cpu-provider", "openvino")


class ConvoyBf16(OpenVino):
    """convoy with the native transport, in bf16 by OpenVINO."""

    name = "convoy, native, bf16"
    tolerance = 1e-2

    def _options(self) -> Sequence[str]:
        return (*super()._options(), "--cpu-precision", "bf16")


class ConvoyInt8OpenVino(ConvoyInt8, OpenVino):
    """convoy with the native transport, serving the int8 version by OpenVINO."""

    name = "convoy, native, int8 by OpenVINO"


class Unmetered(Convoy):
    """convoy without metrics."""

    name = "convoy, grpcio, no metrics"
    module = "bench.race.peers.unmetered"


class UnmeteredNative(ConvoyNative):
    """convoy with the native transport and without metrics."""

    name = "convoy, native, no metrics"
    module = "bench.race.peers.unmetered"


class NativeLoop(OverGrpc):
    """convoy's transport and runtime, with nothing between them."""

    name = "pygrpc-native, ONNX Runtime"

    def _start(self, log: Path) -> Process:
        model = self.model
        command = [sys.executable, "-m", "bench.race.peers.native_loop", str(model.path)]
        command += [str(self.grpc_port), "1", str(model.max_batch_size)]
        return Process(command, log)


class ConvoyTls(Convoy):
    """convoy with grpcio over TLS."""

    name = "convoy, grpcio, TLS"
    scheme = "https"

    def _options(self) -> Sequence[str]:
        self._authority = trustme.CA()
        issued = self._authority.issue_cert("127.0.0.1")
        certificate, key = self.folder / "tls.crt", self.folder / "tls.key"
        certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        tls = ("--tls-certificate", str(certificate), "--tls-key", str(key))
        return (*super()._options(), *tls)

    def _channel(self) -> grpc.Channel:
        credentials = grpc.ssl_channel_credentials(self._authority.cert_pem.bytes())
        return grpc.secure_channel(self.address, credentials)


class ConvoyTen(ConvoyNative):
    """convoy with the native transport, ten models loaded and one of them in use."""

    name = "convoy, native, ten models"

    def _options(self) -> Sequence[str]:
        repository = self.folder / "models"
        others = (f"other_{number}" for number in range(OTHER_MODELS))
        for name in (self.model.name, *others):
            add_version(repository, name, self.model.path.parent)
        return ("--model-repository", str(repository))


class ConvoyJpeg(ConvoyNative):
    """convoy with the native transport, for photographs in place of tensors."""

    name = "convoy, native, JPEG"

    def message(self) -> pb.ModelInferRequest:
        """Return a request with a photograph in the protocol's BYTES: its length, then itself."""
        image = photo()
        request = pb.ModelInferRequest(model_name=self.model.name)
        request.inputs.add(name="image", datatype="BYTES", shape=[1])
        request.raw_input_contents.append(len(image).to_bytes(4, "little") + image)
        return request

    def logits(self) -> list[float]:
        """Return the logits of the tensor, after a photograph was answered."""
        self._ask(self.message())
        return super().logits()


class ConvoyIsolated(ConvoyJpeg):
    """The same, with decoding in processes of their own."""

    name = "convoy, native, JPEG, decoded in 2 processes"

    def _options(self) -> Sequence[str]:
        return (*super()._options(), "--decode-processes", "2")


def photo() -> bytes:
    """Return a JPEG of blurred noise as large as a photograph's: about 60 kB."""
    width, height = PHOTO_SIZE
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    image = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(1.5))
    image.save(file, "JPEG", quality=90)
    return file.getvalue()
