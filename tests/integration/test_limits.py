"""The limits of a client: connections, headers, calls in flight, and time for a request."""

import asyncio
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from convoy.client import AsyncClient
from convoy.pb.inference import grpc_service_pb2 as pb
from tests.harness.calls import INFER, infer_body, infer_request, outcome
from tests.harness.http import Connection, ask, request
from tests.harness.images import png
from tests.harness.server import Running, Serve

pytestmark = [pytest.mark.both_transports, pytest.mark.with_fronts]

EMPTY_SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""A frame of HTTP/2: its length, type 4, no flags, the connection's stream."""

BUSY = (grpc.StatusCode.RESOURCE_EXHAUSTED, "SERVER_BUSY")


def rejected(running: Running, reason: str) -> float:
    """Return the number of refusals for this reason, of all models."""
    return sum(
        running.sample("convoy_rejected_total", model=model, reason=reason) or 0
        for model in ("", "tiny")
    )


@pytest.mark.one_process  # each process counts its own
async def test_calls_in_flight(serve: Serve) -> None:
    """
    One call too many is refused at once, over both transports; the others are answered.
    """
    async with serve(max_calls_in_flight=2) as running:
        await running.inference.ModelInfer(infer_request(3))  # the next ones take the fast path
        with running.device_held():
            calls = [running.inference.ModelInfer(infer_request(3)) for _ in range(2)]
            await running.until(lambda: running.in_flight == 2)
            assert await outcome(running.inference.ModelInfer(infer_request(3))) == BUSY
            answer = await ask("POST", f"{running.url}{INFER}", infer_body(3))
            assert (answer.status, answer.json()["reason"]) == (429, "SERVER_BUSY")
            # Whoever looks is told even then.
            await running.inference.ModelMetadata(pb.ModelMetadataRequest(name="tiny"))
        await asyncio.gather(*calls)
        assert rejected(running, "SERVER_BUSY") == 2


@pytest.mark.one_process  # each process counts its own
async def test_bytes_in_flight(serve: Serve) -> None:
    """
    Large requests count by their bytes until their calls end in any way.
    """
    body = infer_body(3)
    most = 3 * len(body)
    async with serve(max_bytes_in_flight=most, max_batch_size=1) as running:
        size = infer_request(3).ByteSize()
        for _ in range(2):
            await running.inference.ModelInfer(infer_request(3))
        with running.device_held():
            many = most // size
            calls = [running.inference.ModelInfer(infer_request(3)) for _ in range(many)]
            await running.until(lambda: running.in_flight == many)
            assert await outcome(running.inference.ModelInfer(infer_request(3))) == BUSY
            answer = await ask("POST", f"{running.url}{INFER}", body)
            assert (answer.status, answer.json()["reason"]) == (429, "SERVER_BUSY")
            calls[-1].cancel()
            await running.until(lambda: running.in_flight == many - 1)
            last = running.inference.ModelInfer(infer_request(3))
            await running.until(lambda: running.in_flight == many)
        await asyncio.gather(*calls[:-1], last)
        assert (await ask("POST", f"{running.url}{INFER}", body)).status == 200
        await running.until(lambda: running.server.lifecycle.bytes_in_flight == 0)


async def test_metadata(serve: Serve) -> None:
    """
    Metadata and headers beyond the limit are refused, and the next call is answered.
    """
    async with serve(max_metadata_bytes=4096) as running:
        large = (("x-large", "x" * 5000),)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await running.inference.ServerLive(pb.ServerLiveRequest(), metadata=large)
        assert failed.value.code() in (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.UNKNOWN,  # the native transport closes the stream
            grpc.StatusCode.INTERNAL,
        )
        await running.inference.ServerLive(pb.ServerLiveRequest())
        # What came in one piece is read before it is measured.
        answer = await ask("GET", f"{running.url}/v2", headers={"x-large": "x" * 500_000})
        assert answer.status == 400
        assert (await ask("GET", f"{running.url}/v2")).status == 200


async def test_streams_per_connection(serve: Serve) -> None:
    """
    More calls than a connection may have at once wait in our client, and are answered.
    """
    async with (
        serve(max_streams_per_connection=2) as running,
        # It tries again: gRPC's server may refuse a stream in the moment when another one ends.
        AsyncClient(running.address) as client,
    ):
        await client.models()  # a connection learns the limit as it opens
        with running.device_held():
            calls = [asyncio.create_task(client.classify(png(3), model="tiny")) for _ in range(5)]
            await running.until(lambda: running.in_flight == 2)
            await asyncio.sleep(0.1)  # nothing to wait for: no third one comes
            assert running.in_flight == 2
        for answer in await asyncio.gather(*calls):
            assert answer.predictions[0].class_index == 3


async def closed(connection: Connection) -> bool:
    """Return whether the server closes the connection without an answer."""
    async with asyncio.timeout(10):
        return await connection._reader.read() == b""


@pytest.mark.parametrize("sent", ["", "GET /v2 HTTP/1.1\r\nhost: te"])
async def test_a_request_that_does_not_come(serve: Serve, sent: str) -> None:
    """
    A connection that says nothing, or not enough, is closed; also after an answer.
    """
    async with serve(http_request_timeout_s=0.2) as running:
        async with Connection(running.url) as connection:
            await connection.send(sent.encode())
            assert await closed(connection)
        assert rejected(running, "REQUEST_TOO_SLOW") == 1
        async with Connection(running.url) as connection:
            assert (await connection.ask("GET", "/v2")).status == 200
            await connection.send(b"G")
            assert await closed(connection)
        assert rejected(running, "REQUEST_TOO_SLOW") == 2


async def test_a_body_that_does_not_come(serve: Serve) -> None:
    """
    A body that is not there in time is 408; what it held is free again.
    """
    async with serve(http_request_timeout_s=0.2) as running, Connection(running.url) as connection:
        whole = request("POST", INFER, infer_body(3))
        await connection.send(whole[:-1])
        answer = await connection.receive()
        assert (answer.status, answer.json()["reason"]) == (408, "REQUEST_TOO_SLOW")
        assert running.server.lifecycle.bytes_in_flight == 0
        assert running.in_flight == 0


@pytest.mark.parametrize("limit", ["max_connection_age_s", "max_connection_idle_s"])
async def test_connection_age_and_idle_time(serve: Serve, transport: str, limit: str) -> None:
    """
    An old or idle connection is closed in good order, and its client opens a new one.
    """
    if transport == "native":
        pytest.skip("the native transport has neither")
    async with serve(**{limit: 0.2}) as running:
        await running.inference.ServerLive(pb.ServerLiveRequest())
        async with asyncio.timeout(20):
            await running.channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
        await running.inference.ServerLive(pb.ServerLiveRequest())


async def test_keepalive(serve: Serve, tmp_path: Path) -> None:
    """
    The call of a client that vanished without closing its connection is ended.
    """
    image = tmp_path / "3.png"
    image.write_bytes(png(3))
    classify = (sys.executable, "-m", "convoy", "classify", "--model", "tiny", str(image))
    async with serve(keepalive_s=0.2, keepalive_timeout_s=0.2) as running:
        with running.device_held():
            client = await asyncio.create_subprocess_exec(*classify, "--address", running.address)
            await running.until(lambda: running.in_flight > 0)
            client.send_signal(signal.SIGSTOP)  # the system still takes what is sent to it
            await running.until(lambda: running.in_flight == 0)
            client.kill()
            await client.wait()
        # The test's own connection may have been late with an answer, too.
        await running.inference.ServerLive(pb.ServerLiveRequest(), wait_for_ready=True)


async def test_keepalive_of_an_idle_connection(serve: Serve) -> None:
    """
    The idle connection of a client that vanished is closed.
    """
    async with serve(keepalive_s=0.2, keepalive_timeout_s=0.2) as running, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*running.address.split(":"))
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + EMPTY_SETTINGS)
        await reader.read()  # until the server closes: nothing here answers its pings
        writer.close()


def idle_client(running: Running, ping_every_ms: int) -> grpc.aio.Channel:
    """Connect as a client that pings, with or without calls."""
    return grpc.aio.insecure_channel(
        running.address,
        options=(
            ("grpc.keepalive_time_ms", ping_every_ms),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.use_local_subchannel_pool", 1),
        ),
    )


async def watched_for(channel: grpc.aio.Channel, seconds: float) -> grpc.StatusCode:
    """Keep an idle stream open; return its status, which is DEADLINE_EXCEEDED if it stays open."""
    watch: Any = health_pb2_grpc.HealthStub(channel).Watch(
        health_pb2.HealthCheckRequest(), timeout=seconds
    )
    with suppress(grpc.aio.AioRpcError):
        async for _ in watch:
            pass
    code: grpc.StatusCode = await watch.code()
    return code


async def test_pings_of_clients(serve: Serve, transport: str) -> None:
    """
    A client that pings no more often than allowed keeps its idle stream; over grpcio, one that
    pings more often loses its connection.
    """
    async with serve() as running, idle_client(running, 1500) as channel:
        assert await watched_for(channel, 6) is grpc.StatusCode.DEADLINE_EXCEEDED
    if transport == "native":  # it allows any number of pings
        return
    async with serve(min_ping_interval_s=60) as running, idle_client(running, 500) as channel:
        assert await watched_for(channel, 20) is grpc.StatusCode.UNAVAILABLE
