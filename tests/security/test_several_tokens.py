"""A request with several Authorization headers is refused: servers differ in which they believe."""

from __future__ import annotations

import itertools

import pytest

from tests.harness.http import Connection
from tests.security.entries import http_routes, rpcs
from tests.security.target import ENDS_ON_ERROR, Target

MESSAGE = "the call has several Authorization headers; send only one"

CLOSED = [rpc.path for rpc in rpcs() if rpc.method in {"ModelInfer", "ModelStreamInfer", "List"}]


@pytest.fixture
def values(target: Target) -> list[str]:
    """Values of the header: a token that the server knows, another one, and two that are none."""
    if not target.tokens:
        pytest.skip("no token is given")
    known = [f"Bearer {text}" for text in target.tokens.values()]
    return [*known[:2], "Bearer unknown", ""]


@pytest.mark.parametrize("path", CLOSED)
def test_rpcs(target: Target, values: list[str], path: str) -> None:
    """Over gRPC, no order and no value of the headers admits the call."""
    for first, second in itertools.product(values, repeat=2):
        metadata = [ENDS_ON_ERROR, ("authorization", first), ("authorization", second)]
        assert target.call(path, metadata) == ("UNAUTHENTICATED", MESSAGE)


async def test_routes(target: Target, values: list[str]) -> None:
    """Over HTTP, no order and no value of the headers admits the request."""
    names = ("Authorization", "authorization")
    for first, second in itertools.product(values, repeat=2):
        for path in ("/v2", "/metrics", "/page/history"):
            lines = f"{names[0]}: {first}\r\nhost: {target.http}\r\n{names[1]}: {second}"
            async with Connection(f"http://{target.http}") as connection:
                await connection.send(f"GET {path} HTTP/1.1\r\n{lines}\r\n\r\n".encode())
                answer = await connection.receive()
            assert (answer.status, answer.json()["error"]) == (401, MESSAGE)


async def test_open_methods(target: Target, values: list[str]) -> None:
    """Methods that need no token do not look at the headers."""
    metadata = [("authorization", value) for value in values]
    for rpc in rpcs():
        if rpc.method in {"ServerLive", "ServerReady", "Check", "ServerReflectionInfo"}:
            assert target.call(rpc.path, metadata) == ("OK", "")
    live = next(route.path for route in http_routes() if route.method == "ServerLive")
    lines = "".join(f"authorization: {value}\r\n" for value in values)
    async with Connection(f"http://{target.http}") as connection:
        head = f"GET {live} HTTP/1.1\r\nhost: {target.http}\r\n{lines}\r\n"
        await connection.send(head.encode())
        assert (await connection.receive()).status == 200
