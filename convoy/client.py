"""The Python client, blocking and for asyncio. Both may be shared: by threads, by tasks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypedDict

import grpc

from convoy.pb.convoy.v1 import classifier_pb2 as pb
from convoy.pb.convoy.v1 import classifier_pb2_grpc
from convoy.results import (
    Classification,
    ConvoyError,
    Model,
    to_classification,
    to_error,
    to_models,
    to_outcomes,
)

DEFAULT_ADDRESS = "localhost:8001"
DEFAULT_TIMEOUT_S = 30.0

# A server that ends, or is gone, is no reason to fail: classifying twice changes nothing.
_RETRY = {
    "name": [{}],
    "retryPolicy": {
        "maxAttempts": 4,
        "initialBackoff": "0.1s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    },
}
_BALANCED = {
    "loadBalancingConfig": [{"round_robin": {}}],
    # A server that says that it is not ready gets no more calls.
    "healthCheckConfig": {"serviceName": ""},
}


class _CallOptions(TypedDict):
    timeout: float
    metadata: Sequence[tuple[str, str]]


Image = bytes | str | Path
"""Encoded bytes, or the path of a file that holds them."""


class Client:
    """
    Blocking client of a convoy server. Use as a context manager, or call `close`.

    Args:
        address: `host:port` of the server's gRPC port.
        timeout_s: Longest wait for each call, in seconds.
        credentials: For TLS; without them the connection is not encrypted.
        token: Sent with each call, for servers that ask for one.
        balance: Spread calls over all servers that the address stands for, one after the other,
            as far as they are ready: `dns:///name:8001`, or `ipv4:10.0.0.1:8001,10.0.0.2:8001`.
            Not for a proxy, which does that itself.

    A call that finds no server is tried again, three times within about a second.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        credentials: grpc.ChannelCredentials | None = None,
        token: str = "",
        balance: bool = False,
    ) -> None:
        options = _options(balance)
        if credentials is None:
            self._channel = grpc.insecure_channel(address, options)
        else:
            self._channel = grpc.secure_channel(address, credentials, options)
        self._stub = classifier_pb2_grpc.ClassifierServiceStub(self._channel)
        self._options: _CallOptions = {
            "timeout": timeout_s,
            "metadata": token_metadata(token),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls in flight are cancelled."""
        self._channel.close()

    def classify(
        self, image: Image, *, model: str, version: int = 0, top_k: int = 5
    ) -> Classification:
        """
        Classify one image.

        Args:
            image: JPEG, PNG, WebP or BMP, as bytes or as the path of a file.
            model: Name of the model.
            version: Version of the model; 0 is the newest.
            top_k: How many classes to return, 1 to 1000.

        Raises:
            ConvoyError: If the server refuses or cannot be reached.
            OSError: If the file cannot be read.
        """
        request = _request(image, model, version, top_k)
        try:
            return to_classification(self._stub.Classify(request, **self._options))
        except grpc.RpcError as error:
            raise to_error(error) from None

    def classify_batch(
        self, images: Iterable[Image], *, model: str, version: int = 0, top_k: int = 5
    ) -> list[Classification | ConvoyError]:
        """
        Classify many images in one call: one result or error for each, in their order.

        Raises:
            ConvoyError: If the whole call is refused, or the server cannot be reached.
            OSError: If a file cannot be read.
        """
        request = _batch_request(images, model, version, top_k)
        try:
            return to_outcomes(self._stub.ClassifyBatch(request, **self._options))
        except grpc.RpcError as error:
            raise to_error(error) from None

    def models(self) -> list[Model]:
        """
        List the models of the server.

        Raises:
            ConvoyError: If the server cannot be reached.
        """
        try:
            answer = self._stub.ListModels(pb.ListModelsRequest(), **self._options)
        except grpc.RpcError as error:
            raise to_error(error) from None
        return to_models(answer)


class AsyncClient:
    """The same client for asyncio: each method is a coroutine of `Client`'s meaning."""

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        credentials: grpc.ChannelCredentials | None = None,
        token: str = "",
        balance: bool = False,
    ) -> None:
        options = _options(balance)
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(address, options)
        else:
            self._channel = grpc.aio.secure_channel(address, credentials, options)
        self._stub = classifier_pb2_grpc.ClassifierServiceStub(self._channel)
        self._options: _CallOptions = {
            "timeout": timeout_s,
            "metadata": token_metadata(token),
        }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls in flight are cancelled."""
        await self._channel.close()

    async def classify(
        self, image: Image, *, model: str, version: int = 0, top_k: int = 5
    ) -> Classification:
        """Classify one image; as `Client.classify`."""
        request = _request(image, model, version, top_k)
        try:
            return to_classification(await self._stub.Classify(request, **self._options))
        except grpc.RpcError as error:
            raise to_error(error) from None

    async def classify_batch(
        self, images: Iterable[Image], *, model: str, version: int = 0, top_k: int = 5
    ) -> list[Classification | ConvoyError]:
        """Classify many images in one call; as `Client.classify_batch`."""
        request = _batch_request(images, model, version, top_k)
        try:
            return to_outcomes(await self._stub.ClassifyBatch(request, **self._options))
        except grpc.RpcError as error:
            raise to_error(error) from None

    async def models(self) -> list[Model]:
        """List the models of the server; as `Client.models`."""
        try:
            answer = await self._stub.ListModels(pb.ListModelsRequest(), **self._options)
        except grpc.RpcError as error:
            raise to_error(error) from None
        return to_models(answer)


def token_metadata(token: str) -> list[tuple[str, str]]:
    """What a call brings to show *token*; nothing if it is empty."""
    return [("authorization", f"Bearer {token}")] if token else []


def _options(balance: bool) -> list[tuple[str, int | str]]:
    config = {"methodConfig": [_RETRY], **(_BALANCED if balance else {})}
    return [
        # Answers about many images may be larger than gRPC's 4 MB; requests are the server's to
        # limit.
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.service_config", json.dumps(config)),
    ]


def _request(image: Image, model: str, version: int, top_k: int) -> pb.ClassifyRequest:
    return pb.ClassifyRequest(model=model, model_version=version, image=_read(image), top_k=top_k)


def _batch_request(
    images: Iterable[Image], model: str, version: int, top_k: int
) -> pb.ClassifyBatchRequest:
    return pb.ClassifyBatchRequest(
        model=model,
        model_version=version,
        images=[_read(image) for image in images],
        top_k=top_k,
    )


def _read(image: Image) -> bytes:
    return image if isinstance(image, bytes) else Path(image).read_bytes()
