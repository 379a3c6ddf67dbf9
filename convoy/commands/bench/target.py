"""The model under load: its inputs, the requests for it, and their sender."""

from __future__ import annotations

import itertools
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
import numpy.typing as npt

from convoy.commands.bench.bench_settings import BenchSettings
from convoy.commands.bench.load_results import OK
from convoy.commands.connection import ConnectionSettings
from convoy.commands.image_files import read_image
from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.pb.inference import grpc_service_pb2_grpc
from convoy.results import to_error

MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"

RANDOM_REQUESTS = 16
"""The number of different random requests, which are sent in turn."""

_OPTIONS = (
    # Otherwise all channels of the process would share one TCP connection.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
)

_DTYPES: Mapping[str, str] = {
    **{f"UINT{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": f"float{bits}" for bits in (16, 32, 64)},
}
"""numpy's names of the protocol's data types for which random tensors are made."""


class BenchError(Exception):
    """An error that leaves nothing to measure; the message is one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """
    A model, and requests for it.

    Attributes:
        server: The name and version of the server.
        input: The tensors of a request, in words.
        requests: Encoded `ModelInferRequest`s.
    """

    server: str
    model: str
    model_version: str
    input: str
    requests: Sequence[bytes]


async def find(settings: BenchSettings, images: Sequence[Path]) -> Target:
    """
    Ask the server for a model's inputs, and make requests of *images* or of random tensors.

    Raises:
        BenchError: If the server does not answer, has no such model, or does not state its inputs.
        OSError: If an image cannot be read.
        UsageError: If a certificate cannot be read.
    """
    model, version, batch_size = settings.model, settings.model_version, settings.batch_size
    asked = pb.ModelMetadataRequest(name=model, version=version)
    async with open_channel(settings) as channel:
        stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)
        options = {"timeout": 10, "metadata": settings.metadata}
        try:
            server = await stub.ServerMetadata(pb.ServerMetadataRequest(), **options)
            metadata = await stub.ModelMetadata(asked, **options)
        except grpc.aio.AioRpcError as error:
            raise BenchError(str(to_error(error, settings.address))) from None
    request = pb.ModelInferRequest(model_name=model, model_version=version)
    if images:
        files = [read_image(image, settings.images) for image in images]
        # Each image comes first in one request, so that all are sent even at a batch size of 1.
        made = [
            _of_images(request, metadata, [files[i % len(files)] for i in range(n, n + batch_size)])
            for n in range(len(files))
        ]
    else:
        random = np.random.default_rng(settings.seed)
        made = [_of_tensors(request, metadata, batch_size, random) for _ in range(RANDOM_REQUESTS)]
    first = made[0].inputs
    return Target(
        server=f"{server.name} {server.version}",
        model=model,
        model_version=version,
        input=", ".join(f"{t.name} {t.datatype} {list(t.shape)}" for t in first),
        requests=[one.SerializeToString() for one in made],
    )


def _of_images(
    empty: pb.ModelInferRequest,
    metadata: pb.ModelMetadataResponse,
    images: Sequence[bytes],
) -> pb.ModelInferRequest:
    """Return a request of a batch of encoded images, as BYTES."""
    if len(metadata.inputs) != 1:
        raise BenchError(f"{metadata.name} has {len(metadata.inputs)} inputs; images need one")
    request = pb.ModelInferRequest()
    request.CopyFrom(empty)
    request.inputs.add(name=metadata.inputs[0].name, datatype="BYTES", shape=[len(images)])
    raw = b"".join(len(image).to_bytes(4, "little") + image for image in images)
    request.raw_input_contents.append(raw)
    return request


def _of_tensors(
    empty: pb.ModelInferRequest,
    metadata: pb.ModelMetadataResponse,
    batch_size: int,
    random: np.random.Generator,
) -> pb.ModelInferRequest:
    """Return a request of random tensors with the model's shapes and data types."""
    if not metadata.inputs:
        raise BenchError(f"the server does not say what {metadata.name} takes")
    request = pb.ModelInferRequest()
    request.CopyFrom(empty)
    for tensor in metadata.inputs:
        shape = [batch_size, *tensor.shape[1:]]
        # BYTES has no random values that are images; a dynamic size beside the batch is unknown.
        if tensor.datatype not in _DTYPES or min(shape, default=0) < 1:
            raise BenchError(
                f"no random tensor fits input {tensor.name!r}, {tensor.datatype} "
                f"{list(tensor.shape)}"
            )
        request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=shape)
        values = _random(_DTYPES[tensor.datatype], math.prod(shape), random)
        request.raw_input_contents.append(values.tobytes())
    return request


def _random(dtype: str, count: int, random: np.random.Generator) -> npt.NDArray[Any]:
    """Return random pixel values: integers, or floats scaled to `[0, 1)`."""
    if dtype.startswith("float"):
        return random.random(count).astype(dtype)
    # int8 holds half of the pixel values.
    return random.integers(0, 128 if dtype == "int8" else 256, count).astype(dtype)


class Sender:
    """
    A sender of the requests of *target*, in turn. Use it as an asynchronous context manager.

    Attributes:
        failures: The message of the first failure of each status.
    """

    def __init__(self, target: Target, settings: BenchSettings) -> None:
        self.failures: dict[str, str] = {}
        self._requests = itertools.cycle(target.requests)
        self._channels = [open_channel(settings) for _ in range(settings.connections)]
        # Requests are encoded once and answers never decoded: the load is the server's, not ours.
        methods: list[Callable[..., Awaitable[bytes]]] = [
            channel.unary_unary(MODEL_INFER) for channel in self._channels
        ]
        self._methods = itertools.cycle(methods)
        self._address = settings.address
        self._timeout_s = settings.timeout_s
        self._metadata = settings.metadata

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for channel in self._channels:
            await channel.close()

    async def __call__(self) -> str:
        """Send the next request and return the name of its status."""
        return await self.send(next(self._requests))

    async def send(self, request: bytes) -> str:
        """Send *request* and return the name of its status."""
        try:
            await next(self._methods)(request, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            # Under overload there are thousands: the first message of each status stands for all.
            self.failures.setdefault(code, to_error(error, self._address).message)
            return code
        return OK


def open_channel(connection: ConnectionSettings) -> grpc.aio.Channel:
    """
    Open a channel with a connection of its own.

    Raises:
        UsageError: If a certificate cannot be read.
    """
    credentials = connection.credentials()
    if credentials is None:
        return grpc.aio.insecure_channel(connection.address, _OPTIONS)
    return grpc.aio.secure_channel(connection.address, credentials, _OPTIONS)
