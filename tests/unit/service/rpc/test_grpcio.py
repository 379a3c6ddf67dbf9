import asyncio

import pytest

from convoy.service.call import Failure
from convoy.service.rpc.grpcio import _Client


@pytest.mark.parametrize("fails", [False, True])
async def test_an_answer_to_a_client_that_just_left(fails: bool) -> None:
    """
    A call that is cancelled right before its answer comes is cancelled; the answer is let go.
    """

    async def call() -> bytes:
        return await client.answered

    client = _Client()
    waiting = asyncio.create_task(call())
    await asyncio.sleep(0)
    waiting.cancel()
    if fails:
        client.fail(Failure("UNAVAILABLE", "SHUTTING_DOWN", "the server is shutting down"))
    else:
        client.answer(b"too late")
    with pytest.raises(asyncio.CancelledError):
        await waiting
