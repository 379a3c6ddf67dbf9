import asyncio

import pytest

from convoy.service.errors import ShuttingDownError
from convoy.service.rpc.grpcio import _resolve


@pytest.mark.parametrize("error", [None, ShuttingDownError("the server is shutting down")])
async def test_reply_to_a_client_that_just_disconnected(error: ShuttingDownError | None) -> None:
    """
    A call that is cancelled right before its reply comes is cancelled; the reply is dropped.
    """

    async def call() -> bytes:
        return await replied

    replied: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(call())
    await asyncio.sleep(0)
    waiting.cancel()
    _resolve(replied, b"too late", error)
    with pytest.raises(asyncio.CancelledError):
        await waiting
