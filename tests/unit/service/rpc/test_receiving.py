import asyncio
from typing import Any

import grpc
import pytest

from convoy.service.errors import RequestTooSlowError
from convoy.service.rpc.receiving import TICK_S, Receiving

SLOW_TICKS = 3


def reader(*, timeout_ticks: int, max_slow: int = 1) -> Receiving:
    """Return a reader with times in looks."""
    return Receiving(
        timeout_s=timeout_ticks * TICK_S, slow_s=SLOW_TICKS * TICK_S, max_slow=max_slow
    )


class Slow:
    """A call whose message arrives when the test says so."""

    def __init__(self) -> None:
        self.message: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def read(self) -> Any:
        """Wait for the message."""
        return await self.message


async def begin(receiving: Receiving, count: int) -> list[tuple[Slow, asyncio.Task[bytes | None]]]:
    """Begin to read the messages of that many calls."""
    calls = [Slow() for _ in range(count)]
    tasks = [asyncio.create_task(receiving.read(call)) for call in calls]  # type: ignore[arg-type]
    await asyncio.sleep(0)
    return list(zip(calls, tasks, strict=True))


async def too_slow(task: asyncio.Task[bytes | None]) -> bool:
    """Return whether the call has ended because its message is late."""
    for _ in range(3):
        await asyncio.sleep(0)
    return task.done() and isinstance(task.exception(), RequestTooSlowError)


async def test_a_message_that_comes_in_time() -> None:
    """
    A message is returned, however many looks it took.
    """
    receiving = reader(timeout_ticks=10)
    ((call, task),) = await begin(receiving, 1)
    for _ in range(9):
        receiving.look()
    call.message.set_result(b"whole")
    assert await task == b"whole"


async def test_a_message_that_does_not_come() -> None:
    """
    A call ends after as many looks as it has time.
    """
    receiving = reader(timeout_ticks=5)
    ((_, task),) = await begin(receiving, 1)
    for _ in range(4):
        receiving.look()
    assert not await too_slow(task)
    receiving.look()
    assert await too_slow(task)


async def test_too_many_slow_calls() -> None:
    """
    Beyond the limit the calls that began first end; those that are not slow yet do not count.
    """
    receiving = reader(timeout_ticks=1000, max_slow=2)
    slow = await begin(receiving, 4)
    for _ in range(SLOW_TICKS):
        receiving.look()
    fresh = await begin(receiving, 4)
    receiving.look()
    assert [await too_slow(task) for _, task in slow] == [True, True, False, False]
    assert not any([await too_slow(task) for _, task in fresh])
    for call, task in (*slow[2:], *fresh):
        call.message.set_result(b"")
        await task


async def test_a_client_that_leaves() -> None:
    """
    A call that its client cancels is cancelled, not slow, and is forgotten.
    """
    receiving = reader(timeout_ticks=5)
    ((_, task),) = await begin(receiving, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(10):
        receiving.look()


async def test_a_call_without_a_message() -> None:
    """
    A client that closes its side without a message has none.
    """
    receiving = reader(timeout_ticks=5)
    ((call, task),) = await begin(receiving, 1)
    call.message.set_result(grpc.aio.EOF)
    assert await task is None
