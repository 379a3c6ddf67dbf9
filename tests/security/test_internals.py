"""No answer tells of the server's code, and no request makes it log a traceback."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from convoy.service.security.access import NEEDED
from tests.harness.http import Connection
from tests.security.entries import http_routes, rpcs
from tests.security.log import Log
from tests.security.target import Credential, Target

INTERNAL = re.compile(
    r"Traceback|Error\b|Exception|Unexpected|<class|object at 0x|\.py\b|/work|/usr|/tmp"
)
"""Words that a client sees if an answer quotes Python, or names files of the server."""

NAME = b"\x0a\x04none"
"""A message whose field 1 names a model that no server has: unloading it changes nothing."""

MESSAGES = [b"", NAME, b"\xff" * 16, b"\x0a\xff\xff\xff\xff\x0f", NAME * 50, b"\x0a\x02\xff\xfe"]

BODIES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'{"inputs": 1}',
    b"\xff\xfe",
    b'{"a":' * 500,
    b'{"parameters": {}}',
]


def credentials(target: Target) -> list[Credential]:
    """Return what clients send: nothing, or one of the tokens that are given."""
    return ["nothing", *target.tokens]


@pytest.fixture(autouse=True)
async def no_traceback(target: Target) -> AsyncIterator[None]:
    """Look for tracebacks in the lines of each test, unless a server is given."""
    log = target.process and Log(target, target.process)
    yield
    if log:
        assert [line for line in await log.lines() if "traceback" in line] == []


@pytest.mark.parametrize("message", MESSAGES)
def test_rpcs(target: Target, message: bytes) -> None:
    """Every rpc answers any bytes with a status that says what is wrong, and no more."""
    for credential in credentials(target):
        for rpc in rpcs():
            code, details = target.call(rpc.path, target.metadata(credential), message=message)
            assert code not in ("UNKNOWN", "INTERNAL"), (rpc.path, details)
            assert not INTERNAL.search(details), (rpc.path, details)


@pytest.mark.parametrize("body", BODIES)
async def test_routes(target: Target, body: bytes) -> None:
    """Every route answers any body with a status that says what is wrong, and no more."""
    async with Connection(f"http://{target.http}") as connection:
        for credential in credentials(target):
            for route in http_routes():
                # Nothing may unload a model that exists.
                changes = NEEDED[route.method] == "control"
                path = route.path if changes else route.path.replace("no-such-model", "tiny")
                headers = target.headers(credential)
                answer = await connection.ask(route.verb, path, body, headers)
                assert answer.status != 500, (route, answer.body)
                if answer.status >= 400:
                    assert not INTERNAL.search(answer.body.decode()), (route, answer.body)


def test_reflection(target: Target) -> None:
    """Reflection answers every kind of question about what does not exist."""
    asked = reflection_pb2.ServerReflectionRequest
    extension = reflection_pb2.ExtensionRequest(containing_type="no.such.Type", extension_number=1)
    of_message = reflection_pb2.ExtensionRequest(
        containing_type="inference.ModelInferRequest", extension_number=-1
    )
    questions = [
        asked(),
        asked(host="x" * 1000),
        *(asked(file_by_filename=name) for name in ("", "/etc/passwd", "../x", "x\x00")),
        *(asked(file_containing_symbol=name) for name in ("", ".", "no.such.Symbol", "x\x00")),
        *(asked(file_containing_extension=one) for one in (extension, of_message)),
        *(
            asked(all_extension_numbers_of_type=name)
            for name in ("", "no.such.Type", "inference.ModelInferRequest", "x\x00")
        ),
    ]
    with grpc.insecure_channel(target.grpc) as channel:
        ask: Any = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        assert len(list(ask(iter(questions), timeout=20))) == len(questions)
