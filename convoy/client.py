"""The Python client: blocking, for threads to share, and for asyncio, for tasks to share."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypedDict

import grpc

from convoy.connecting import to_target
from convoy.defaults import ADDRESS, TIMEOUT_S
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

# A server may stop, or close a connection because of another call on it. Classifying twice changes
# nothing, so try another time.
_RETRY = {
    "name": [{}],
    "retryPolicy": {
        "maxAttempts": 4,
        "initialBackoff": "0.1s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        # CANCELLED is the end of a call that reaches a server while it closes.
        "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
    },
}
_KEPT_FOR_RETRY_BYTES = 2**31 - 1
"""
Bytes of a call that gRPC keeps for a retry.

gRPC's default is 256 KiB: it would never repeat a call with a larger photograph. The caller holds
the image in any case.
"""

_MIN_LOOKUP_INTERVAL_MS = 1000
"""
Shortest time between two lookups of a name.

gRPC looks a name up again when it loses a server, but at most every 30 s by default: a rolling
restart can replace all servers within that time.
"""

_MAX_RECONNECT_INTERVAL_MS = 2000
"""Longest pause between attempts to reach a server; gRPC's default of 120 s outlasts its return."""

_BALANCED = {
    "loadBalancingConfig": [{"round_robin": {}}],
    # Send no calls to a server whose health service reports that it is not ready.
    "healthCheckConfig": {"serviceName": ""},
}


class _CallOptions(TypedDict):
    timeout: float
    metadata: Sequence[tuple[str, str]]
    wait_for_ready: bool


Image = bytes | str | Path
"""Encoded bytes, or the path of a file that holds them."""


class Client:
    """
    A blocking client of a convoy server. Use it as a context manager, or call `close`.

    A call that finds no server, or whose connection is lost, is repeated up to three times, after
    pauses of about a second together. With *balance*, a call that finds no server waits for one
    until it has taken *timeout_s*.

    Args:
        address: `host:port` of the server's gRPC port, or a target of gRPC; a bare host gets the
            default port, 8001.
        timeout_s: The longest wait for each call, in seconds.
        credentials: Credentials for TLS; without them the connection is not encrypted.
        token: A bearer token to send with each call, for servers that require one.
        balance: Spread the calls evenly over all ready servers that the address stands for:
            `dns:///name:8001`, or `ipv4:10.0.0.1:8001,10.0.0.2:8001`. Leave it out for a proxy,
            which balances the calls itself.

    Raises:
        ValueError: If the address or the token is malformed.
    """

    def __init__(
        self,
        address: str = ADDRESS,
        *,
        timeout_s: float = TIMEOUT_S,
        credentials: grpc.ChannelCredentials | None = None,
        token: str = "",
        balance: bool = False,
    ) -> None:
        options = _options(balance)
        self._address = to_target(address)
        if credentials is None:
            self._channel = grpc.insecure_channel(self._address, options)
        else:
            self._channel = grpc.secure_channel(self._address, credentials, options)
        self._stub = classifier_pb2_grpc.ClassifierServiceStub(self._channel)
        self._options: _CallOptions = {
            "timeout": timeout_s,
            "metadata": token_metadata(token),
            # While servers replace each other there may be none that this client knows.
            "wait_for_ready": balance,
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
        """Close the connection and cancel the calls in flight."""
        self._channel.close()

    def classify(
        self, image: Image, *, model: str, version: int = 0, top_k: int = 5
    ) -> Classification:
        """
        Classify one image.

        Args:
            image: A JPEG, PNG, WebP or BMP, as bytes or as the path of a file.
            model: The name of the model.
            version: The version of the model; 0 is the newest.
            top_k: The number of classes to return, 1 to 1000.

        Raises:
            ConvoyError: If the server refuses the call or cannot be reached.
            OSError: If the file cannot be read.
        """
        # Outside the try: an OSError of the file is the caller's, not the server's.
        request = _request(image, model, version, top_k)
        try:
            return to_classification(self._stub.Classify(request, **_traced(self._options)))
        except grpc.RpcError as error:
            # Without grpc's error as the cause: it would repeat the message on many lines.
            raise to_error(error, self._address) from None

    def classify_batch(
        self, images: Iterable[Image], *, model: str, version: int = 0, top_k: int = 5
    ) -> list[Classification | ConvoyError]:
        """
        Classify many images in one call.

        Returns:
            One result or error for each image, in the order of the images.

        Raises:
            ConvoyError: If the whole call is refused, or the server cannot be reached.
            OSError: If a file cannot be read.
        """
        request = _batch_request(images, model, version, top_k)
        try:
            return to_outcomes(self._stub.ClassifyBatch(request, **_traced(self._options)))
        except grpc.RpcError as error:
            raise to_error(error, self._address) from None

    def models(self) -> list[Model]:
        """
        List the models of the server.

        Raises:
            ConvoyError: If the server cannot be reached.
        """
        try:
            answer = self._stub.ListModels(pb.ListModelsRequest(), **_traced(self._options))
        except grpc.RpcError as error:
            raise to_error(error, self._address) from None
        return to_models(answer)


class AsyncClient:
    """The same client for asyncio: each method is the coroutine form of `Client`'s."""

    def __init__(
        self,
        address: str = ADDRESS,
        *,
        timeout_s: float = TIMEOUT_S,
        credentials: grpc.ChannelCredentials | None = None,
        token: str = "",
        balance: bool = False,
    ) -> None:
        options = _options(balance)
        self._address = to_target(address)
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(self._address, options)
        else:
            self._channel = grpc.aio.secure_channel(self._address, credentials, options)
        self._stub = classifier_pb2_grpc.ClassifierServiceStub(self._channel)
        self._options: _CallOptions = {
            "timeout": timeout_s,
            "metadata": token_metadata(token),
            "wait_for_ready": balance,
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
        """Close the connection and cancel the calls in flight."""
        await self._channel.close()

    async def classify(
        self, image: Image, *, model: str, version: int = 0, top_k: int = 5
    ) -> Classification:
        """Classify one image, like `Client.classify`."""
        request = _request(image, model, version, top_k)
        try:
            return to_classification(await self._stub.Classify(request, **_traced(self._options)))
        except grpc.RpcError as error:
            raise to_error(error, self._address) from None

    async def classify_batch(
        self, images: Iterable[Image], *, model: str, version: int = 0, top_k: int = 5
    ) -> list[Classification | ConvoyError]:
        """Classify many images in one call, like `Client.classify_batch`."""
        request = _batch_request(images, model, version, top_k)
        try:
            return to_outcomes(await self._stub.ClassifyBatch(request, **_traced(self._options)))
        except grpc.RpcError as error:
            raise to_error(error, self._address) from None

    async def models(self) -> list[Model]:
        """List the models of the server, like `Client.models`."""
        try:
            answer = await self._stub.ListModels(pb.ListModelsRequest(), **_traced(self._options))
        except grpc.RpcError as error:
            raise to_error(error, self._address) from None
        return to_models(answer)


def token_metadata(token: str) -> list[tuple[str, str]]:
    """
    Return the metadata that carries *token*; none if it is empty.

    Raises:
        ValueError: If the token holds anything but printable ASCII characters.
    """
    if not (token.isascii() and token.isprintable()):
        raise ValueError("the token must consist of printable ASCII characters")
    return [("authorization", f"Bearer {token}")] if token else []


def _traced(options: _CallOptions) -> _CallOptions:
    """Add the headers of the current span, if the program uses OpenTelemetry."""
    # A program that has a span has imported the package; do not import it for others.
    if "opentelemetry.trace" not in sys.modules:
        return options
    from opentelemetry import propagate

    headers: dict[str, str] = {}
    propagate.inject(headers)
    return {**options, "metadata": [*options["metadata"], *headers.items()]}


def _options(balance: bool) -> list[tuple[str, int | str]]:
    # gRPC reads retries and balancing from a service config, which a name server could also send.
    config = {"methodConfig": [_RETRY], **(_BALANCED if balance else {})}
    return [
        # Answers to many images may exceed gRPC's 4 MB; the server limits the size of requests.
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.per_rpc_retry_buffer_size", _KEPT_FOR_RETRY_BYTES),
        ("grpc.dns_min_time_between_resolutions_ms", _MIN_LOOKUP_INTERVAL_MS),
        ("grpc.max_reconnect_backoff_ms", _MAX_RECONNECT_INTERVAL_MS),
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
