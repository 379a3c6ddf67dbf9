import asyncio
from typing import Any

import grpc
import pytest

from convoy.service.errors import RequestTooSlowError
from convoy.service.rpc.receiving import PATIENCE_TICKS, Receiving


class Slow:
    """A call whose message arrives when the test says so."""

    def __init__(self) -> None:
        self.message: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def read(self) -> Any:
        """Wait for the message."""
        return await self.message

    async def abort(self, code: grpc.StatusCode, details: str, metadata: object) -> None:
        """Raise, as gRPC's own does."""
        raise grpc.aio.AbortError(code.name)


async def begin(receiving: Receiving, count: int) -> list[tuple[Slow, asyncio.Task[bytes]]]:
    """Begin to read the messages of that many calls."""
    calls = [Slow() for _ in range(count)]
    tasks = [asyncio.create_task(receiving.read(call)) for call in calls]  # type: ignore[arg-type]
    await asyncio.sleep(0)
    return list(zip(calls, tasks, strict=True))


async def too_slow(task: asyncio.Task[bytes]) -> bool:
    """Return whether the call has ended because its message is late."""
    for _ in range(3):
        await asyncio.sleep(0)
    return task.done() and isinstance(task.exception(), RequestTooSlowError)


async def test_a_message_that_comes_in_time() -> None:
    """
    A message is returned, however many looks it took.
    """
    receiving = Receiving(timeout_s=10, max_slow=1)
    ((call, task),) = await begin(receiving, 1)
    for _ in range(9):
        receiving.look()
    call.message.set_result(b"whole")
    assert await task == b"whole"


async def test_a_message_that_does_not_come() -> None:
    """
    A call ends after as many looks as the seconds that it has.
    """
    receiving = Receiving(timeout_s=5, max_slow=1)
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
    receiving = Receiving(timeout_s=1000, max_slow=2)
    slow = await begin(receiving, 4)
    for _ in range(PATIENCE_TICKS):
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
    receiving = Receiving(timeout_s=5, max_slow=1)
    ((_, task),) = await begin(receiving, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(10):
        receiving.look()


async def test_a_call_without_a_message() -> None:
    """
    A client that closes its side without a message is refused.
    """
    receiving = Receiving(timeout_s=5, max_slow=1)
    ((call, task),) = await begin(receiving, 1)
    call.message.set_result(grpc.aio.EOF)
    with pytest.raises(grpc.aio.AbortError, match="INVALID_ARGUMENT"):
        await task
