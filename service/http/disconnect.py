"""Clients that close the connection before their answer is there."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

T = TypeVar("T")


class ClientLeftError(asyncio.CancelledError):
    """The client closed the connection before its answer was there."""


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """
    Await *work*; withdraw it if the client closes the connection meanwhile.

    Raises:
        ClientLeftError: If it does.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_until_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientLeftError
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
