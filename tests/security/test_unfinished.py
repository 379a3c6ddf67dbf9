"""Messages that strangers begin and never finish, and connections that say nothing."""

from __future__ import annotations

import asyncio

import pytest

from tests.harness.http2 import PREFACE, Http2Connection
from tests.security.memory import bounded_growth
from tests.security.target import Target

INFERENCE = (
    "/convoy.v1.ClassifierService/Classify",
    "/convoy.v1.ClassifierService/ClassifyBatch",
    "/inference.GRPCInferenceService/ModelInfer",
    "/inference.GRPCInferenceService/ModelStreamInfer",
)

CONNECTIONS = 12

MESSAGE_BYTES = 15 * 2**20
"""Just less than the largest message that a server accepts by default."""

MAX_GROWTH_BYTES = 64 * 2**20
"""A third of what one message on each connection would hold."""

TIMEOUT_S = 30.0


@pytest.fixture(autouse=True)
def bounded(transport: str) -> None:
    """Skip the native transport, which has no such limits and is not for strangers."""
    if transport == "native":
        pytest.skip("the native transport takes messages of any size")


@pytest.fixture
def with_tokens(target: Target) -> Target:
    """The server, which must know tokens: without them there are no strangers."""
    if not target.tokens:
        pytest.skip("the server that is given has no tokens")
    return target


async def refused(address: str, path: str) -> None:
    """Begin a message without a token; return once the server has ended its call."""
    async with Http2Connection(address) as connection:
        stream = await connection.send_part_of_message(path, MESSAGE_BYTES)
        async with asyncio.timeout(TIMEOUT_S):
            await connection.until_ended(stream)
        # The rest of the message was not waited for, nor taken.
        assert connection.sent < MESSAGE_BYTES // 4


@pytest.mark.parametrize("path", INFERENCE)
async def test_unfinished_messages_of_strangers(with_tokens: Target, path: str) -> None:
    """
    A call without a token is refused before its message has arrived, and fills no memory.
    """
    with bounded_growth(with_tokens, MAX_GROWTH_BYTES):
        await asyncio.gather(*(refused(with_tokens.grpc, path) for _ in range(CONNECTIONS)))


@pytest.mark.slow
async def test_silent_connections(target: Target) -> None:
    """
    A connection that does not begin HTTP/2 is closed.
    """
    # All at once: the server waits ten seconds for each.
    await asyncio.gather(*(closed(target.grpc, sent) for sent in (b"", PREFACE[:8], PREFACE)))


async def closed(address: str, sent: bytes) -> None:
    """Send the beginning of a connection, and wait until the server closes it."""
    reader, writer = await asyncio.open_connection(*address.rsplit(":", 1))
    writer.write(sent)
    async with asyncio.timeout(TIMEOUT_S):
        await reader.read()
    writer.close()
