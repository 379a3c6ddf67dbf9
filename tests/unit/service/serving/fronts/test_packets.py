"""The connection between a front and the engine."""

import asyncio
import resource
import socket
import struct
from collections.abc import Callable

from convoy.service.serving.fronts.packets import MAX_RECORDS, Packets
from convoy.service.serving.fronts.records import Blob

RECORD = struct.Struct("<Q")


class End:
    """One end, and what it received."""

    def __init__(self, connected: socket.socket) -> None:
        self.received: list[object] = []
        self.lost = asyncio.Event()
        self.packets = Packets(
            connected,
            RECORD,
            RECORD,
            on_records=lambda records: self.received.extend(number for (number,) in records),
            on_blob=lambda kind, data: self.received.append((kind, data)),
            on_lost=self.lost.set,
        )


def ends() -> tuple[End, End]:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return End(one), End(other)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)


async def test_order_of_records_and_blobs() -> None:
    """
    Everything arrives once and in order, with blobs that are larger than any packet.
    """
    one, other = ends()
    sent: list[object] = []
    for number in range(3 * MAX_RECORDS):
        one.packets.send((number,))
        sent.append(number)
        if number % 100 == 0:
            one.packets.send_blob(Blob.REPORT, bytes([number // 100]) * 1_000_000)
            sent.append((Blob.REPORT, bytes([number // 100]) * 1_000_000))
    await until(lambda: len(other.received) == len(sent))
    assert other.received == sent
    for end in (one, other):
        end.packets.close()


async def test_blob_without_a_free_descriptor() -> None:
    """
    A blob for which the receiver has no descriptor left ends the connection, as its loss would
    leave the two ends with different states.
    """
    one, other = ends()
    one.packets.send((1,))
    await until(lambda: other.received == [1])
    one.packets.send_blob(Blob.SNAPSHOT, b"state")
    one.packets.send((2,))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))  # those of the standard streams
    try:
        await until(lambda: other.lost.is_set() or len(other.received) > 1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert other.received == [1]
    await until(one.lost.is_set)


async def test_end_that_does_not_read() -> None:
    """
    Records that the other end does not read wait, without blocking, and arrive when it does.
    """
    one, other = ends()
    loop = asyncio.get_running_loop()
    loop.remove_reader(other.packets._socket)
    for number in range(100_000):
        one.packets.send((number,))
    await asyncio.sleep(0.01)
    assert one.packets._pending
    loop.add_reader(other.packets._socket, other.packets._receive)
    await until(lambda: len(other.received) == 100_000)
    assert other.received == list(range(100_000))
    for end in (one, other):
        end.packets.close()


async def test_end_that_closes() -> None:
    """
    An end learns that the other one has closed, and drops what it still sends.
    """
    one, other = ends()
    one.packets.close()
    async with asyncio.timeout(10):
        await other.lost.wait()
    other.packets.send((1,))
    other.packets.send_blob(Blob.REPORT, b"1")
    await asyncio.sleep(0)
    assert not other.packets._pending
