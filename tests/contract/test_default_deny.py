"""Services and streams that do not check their clients themselves are checked by the transport."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

from convoy.service.call import Calls
from convoy.service.lifecycle import Lifecycle
from convoy.service.rpc.backlog import Backlog
from convoy.service.rpc.fast_path import FastPath
from convoy.service.rpc.grpcio import CallInterceptor
from convoy.service.rpc.receiving import Readers
from convoy.service.security.access import Access
from convoy.service.security.tokens import Token, TokenFile
from convoy.service.serving.registry import ModelRegistry
from convoy.service.telemetry.metrics import Metrics
from tests.harness.calls import outcome

UNAUTHENTICATED = (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
DENIED = (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")


async def echo(message: bytes, context: Any) -> bytes:
    """Answer with the message."""
    return message


async def echo_all(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    """Answer with every message."""
    async for message in messages:
        yield message


@pytest.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    """A connection to a server that needs no tokens."""
    async with serving(Access()) as channel:
        yield channel


@asynccontextmanager
async def serving(access: Access) -> AsyncIterator[grpc.aio.Channel]:
    """Connect to a server with a service of its own, of which no table knows."""
    metrics = Metrics(CollectorRegistry())
    calls = Calls(access, Lifecycle(), metrics, log_requests=False)
    interceptor = CallInterceptor(
        calls,
        FastPath(ModelRegistry()),
        Backlog(calls.lifecycle, metrics),
        Readers.make(timeout_s=30.0, max_slow=1),
    )
    server = grpc.aio.server(interceptors=(interceptor,))
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "EchoAll": grpc.stream_stream_rpc_method_handler(echo_all),
        "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(echo_all, bytes),
        "Check": grpc.unary_unary_rpc_method_handler(echo, request_deserializer=bytes),
    }
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler("added.Later", handlers),
            grpc.method_handlers_generic_handler("convoy.v1.ClassifierService", handlers),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(0)


@pytest.mark.parametrize("service", ["added.Later", "convoy.v1.ClassifierService"])
async def test_methods_that_nobody_listed(channel: grpc.aio.Channel, service: str) -> None:
    """A method that is not in the table of rights is refused, whatever its kind and its service."""
    unary: Any = channel.unary_unary(f"/{service}/Echo")
    assert await outcome(unary(b"")) == DENIED
    stream: Any = channel.stream_stream(f"/{service}/EchoAll")
    assert await outcome(stream(iter([b""])).read()) == DENIED
    assert await outcome(stream(iter([])).read()) == DENIED


async def test_listed_method(channel: grpc.aio.Channel) -> None:
    """A listed method of a service that is not ours is passed on unchanged."""
    unary: Any = channel.unary_unary("/added.Later/Check")
    assert await unary(b"message") == b"message"


async def test_stream_of_another_service(tmp_path: Path) -> None:
    """Only our own stream, which checks each of its requests, is not checked when it opens."""
    token, _ = Token.make("observer", ["observe"])
    (tmp_path / "tokens").write_text(token.line)
    async with serving(Access(TokenFile(tmp_path / "tokens"))) as channel:
        stream: Any = channel.stream_stream("/added.Later/ModelStreamInfer")
        assert await outcome(stream(iter([b""])).read()) == UNAUTHENTICATED
