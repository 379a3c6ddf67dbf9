"""A small HTTP client for tests, on asyncio's streams: it can also do what clients should not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

TIMEOUT_S = 20


@dataclass(frozen=True, slots=True)
class Answer:
    """
    The answer to one HTTP request.

    Attributes:
        headers: By name, in lower case.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


class Connection:
    """
    One connection, kept alive.

    `ask` does one request after the other; with `send` and `receive` several may be under way.

    Args:
        source: The client's own address; the system's choice if it is empty.
    """

    def __init__(self, url: str, source: str = "") -> None:
        self._host = urlsplit(url)
        self._source = (source, 0) if source else None

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(
            self._host.hostname, self._host.port, local_addr=self._source
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.transport.abort()

    async def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a request and wait for its answer."""
        await self.send(request(method, path, body, headers))
        return await self.receive(bodiless=method == "HEAD")

    async def send(self, data: bytes) -> None:
        """Send bytes without any check."""
        self._writer.write(data)
        await self._writer.drain()

    async def receive(self, *, bodiless: bool = False) -> Answer:
        """Wait for the next answer; that to HEAD has no body, though it states a length."""
        async with asyncio.timeout(TIMEOUT_S):
            status, headers = await self.receive_head()
            while status == 100:
                status, headers = await self.receive_head()
            size = 0 if bodiless else int(headers.get("content-length", "0"))
            return Answer(status, headers, await self._reader.readexactly(size))

    async def receive_head(self) -> tuple[int, dict[str, str]]:
        """Wait for the status and the headers of the next answer, or of what comes before it."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip().split("\r\n")
        fields = (line.split(":", 1) for line in lines)
        return int(first.split()[1]), {name.lower(): value.strip() for name, value in fields}

    async def rest(self) -> bytes:
        """Return the bytes until the server closes the connection."""
        async with asyncio.timeout(TIMEOUT_S):
            return await self._reader.read()

    def close_sending(self) -> None:
        """Say that nothing more will be sent."""
        self._writer.write_eof()

    def hang_up(self) -> None:
        """Close the connection at once."""
        self._writer.transport.abort()


def request(
    method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> bytes:
    """The bytes of a request; *headers* may overrule its length."""
    given = {"host": "test"} | ({"content-length": str(len(body))} if body else {})
    given |= {name.lower(): value for name, value in (headers or {}).items()}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


async def ask(
    method: str, url: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> Answer:
    """Send one request on a connection of its own."""
    async with Connection(url) as connection:
        parts = urlsplit(url)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        return await connection.ask(method, target, body, headers)


async def get(url: str, **headers: str) -> tuple[int, str]:
    """Status and body of an answer."""
    answer = await ask("GET", url, headers=headers)
    return answer.status, answer.body.decode()
