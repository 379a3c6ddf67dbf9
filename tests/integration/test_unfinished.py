"""Messages that do not arrive whole, connections that say nothing, and too many connections.

Only grpcio has these limits: the native transport reads messages itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import grpc
import pytest

from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.rpc import limits, receiving
from convoy.service.security.tokens import Token
from tests.harness.calls import SERVING, health, infer_request
from tests.harness.http2 import PREFACE, SETTINGS, Http2Connection, frame
from tests.harness.server import Running, Serve

CLASSIFY = "/convoy.v1.ClassifierService/Classify"
INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"

MESSAGE_BYTES = 4 * 2**20


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server look at unfinished messages ten times a second."""
    for name, seconds in (("TICK_S", 0.1), ("SLOW_S", 0.6), ("SLOW_OPEN_S", 0.6)):
        monkeypatch.setattr(receiving, name, seconds)


@pytest.fixture
async def guarded(serve: Serve, tmp_path: Path) -> AsyncIterator[Running]:
    """A server that needs tokens."""
    file = tmp_path / "tokens"
    file.touch(mode=0o600)
    file.write_text(Token.make("other", ["infer"])[0].line)
    async with serve(token_file=str(file)) as running:
        yield running


def counted(running: Running, method: str, code: str) -> float:
    """Return how many calls of a method ended with this code, of whatever model."""
    return sum(
        running.sample("convoy_requests_total", method=method, code=code, model=model) or 0.0
        for model in ("", "tiny", "unknown")
    )


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("path", [CLASSIFY, INFER, CHECK, WATCH, REFLECTION])
async def test_a_message_that_does_not_arrive(serve: Serve, path: str) -> None:
    """
    A call whose message is not there in time is ended; one of ours is counted, with its reason.
    """
    async with (
        serve(grpc_message_timeout_s=0.6) as running,
        Http2Connection(running.address) as connection,
    ):
        stream = await connection.send_part_of_message(path, MESSAGE_BYTES)
        await running.until(lambda: stream in connection.ended)
        # Others are not affected.
        await running.inference.ModelInfer(infer_request(3))
        assert await health(running.channel, "") == SERVING
        method = path.rpartition("/")[2]
        if path in (CLASSIFY, INFER):
            assert counted(running, method, "DEADLINE_EXCEEDED") == 1
            rejected = running.sample("convoy_rejected_total", model="", reason="REQUEST_TOO_SLOW")
            assert rejected == 1


@pytest.mark.usefixtures("quick")
async def test_many_messages_that_do_not_arrive(serve: Serve) -> None:
    """
    The calls with unfinished messages that began last are left, as many as their bytes
    may be in flight.
    """
    async with (
        serve(
            max_message_bytes=MESSAGE_BYTES,
            max_image_bytes=MESSAGE_BYTES,
            max_bytes_in_flight=2 * MESSAGE_BYTES,
        ) as running,
        Http2Connection(running.address) as connection,
    ):
        streams = [await connection.send_part_of_message(CLASSIFY, MESSAGE_BYTES) for _ in range(5)]
        await running.until(lambda: len(connection.ended) == 3)
        await running.inference.ModelInfer(infer_request(3))
        assert connection.ended == set(streams[:3])


@pytest.mark.usefixtures("quick")
async def test_many_messages_of_strangers(guarded: Running) -> None:
    """
    A few calls that need no token are left with unfinished messages.
    """
    async with Http2Connection(guarded.address) as connection:
        for path in (CHECK, WATCH, REFLECTION):
            for _ in range(3):
                await connection.send_part_of_message(path, MESSAGE_BYTES)
        await guarded.until(lambda: len(connection.ended) == 9 - receiving.MAX_SLOW_OPEN)
        assert await health(guarded.channel, "") == SERVING


@pytest.mark.parametrize("path", [CLASSIFY, INFER, STREAM, "/grpc.health.v1.Health/List"])
async def test_a_message_of_a_stranger(guarded: Running, path: str) -> None:
    """
    A call without a token is refused although no message arrives: none is waited for.
    """
    async with Http2Connection(guarded.address) as connection:
        stream = connection.begin(path, triton_grpc_error="true")
        await guarded.until(lambda: stream in connection.ended)
        method = path.rpartition("/")[2]
        if "List" not in path:
            assert counted(guarded, method, "UNAUTHENTICATED") == 1


async def test_a_call_without_a_message(running: Running) -> None:
    """
    A client that closes its side without a message is told so.
    """
    call: Any = running.channel.stream_unary(CLASSIFY)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call(iter([]))
    assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_client_that_leaves_within_a_message(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A client that disconnects before its message is whole leaves no line in the log.
    """
    async with Http2Connection(running.address) as connection:
        await connection.send_part_of_message(CLASSIFY, MESSAGE_BYTES)
    await running.until(lambda: not running.server.rpc._readers.entitled._began)
    await running.inference.ModelInfer(infer_request(3))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_connection_that_says_nothing(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A connection that does not begin HTTP/2 is closed.
    """
    monkeypatch.setattr(limits, "HANDSHAKE_TIMEOUT_S", 0.2)
    async with serve() as running, asyncio.timeout(10):
        for sent in (b"", PREFACE[:5], PREFACE):
            reader, writer = await asyncio.open_connection(*running.address.split(":"))
            writer.write(sent)
            await reader.read()  # until the server closes
            writer.close()


@pytest.mark.skipif(not find_spec("pygrpc_native"), reason="the extra fast is missing")
async def test_connections_over_the_native_transport(serve: Serve) -> None:
    """
    The native transport has no limit of connections; its clients reach the services behind it.
    """
    apart = (("grpc.use_local_subchannel_pool", 1),)
    async with serve(transport="native", allow_unbounded_messages=True, max_grpc_connections=1) as (
        running
    ):
        channels = [grpc.aio.insecure_channel(running.address, apart) for _ in range(4)]
        for channel in channels:
            assert await health(channel, "") == SERVING
        for channel in channels:
            await channel.close()


async def test_connections_beyond_the_limit(serve: Serve) -> None:
    """
    One connection too many is closed; when another one ends there is room again.
    """
    async with serve(max_grpc_connections=2) as running:
        await running.inference.ServerLive(pb.ServerLiveRequest())
        async with Http2Connection(running.address):
            reader, writer = await asyncio.open_connection(*running.address.split(":"))
            writer.write(PREFACE + frame(SETTINGS, 0, 0))
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readexactly(1)
            writer.close()

        async def connected() -> bool:
            async with Http2Connection(running.address) as connection:
                stream = connection.begin("/unknown/Method")
                await running.until(
                    lambda: connection.closed.is_set() or stream in connection.ended
                )
                return not connection.closed.is_set()

        async with asyncio.timeout(10):
            while not await connected():
                pass
