"""Answers of every endpoint: errors, messages as JSON, compression."""

from __future__ import annotations

import re

from google.protobuf.message import Message
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from convoy.service.errors import ServiceError
from convoy.service.http.messages import as_json

GZIP_LEAST_BYTES = 1024

_NO_GZIP = re.compile(r"gzip\s*;\s*q=0(\.0*)?\s*(,|$)", re.IGNORECASE)


class _Compression(GZipMiddleware):
    """Compresses answers for clients that accept it; starlette's own ignores a weight of 0."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        accepted = Headers(scope=scope).get("accept-encoding", "")
        answer = self.app if _NO_GZIP.search(accepted) else super().__call__
        await answer(scope, receive, send)


# For answers that may be large. The others are not compressed, as in Triton: its own asyncio
# client accepts compressed answers by its library's default and cannot read them.
COMPRESSED = (Middleware(_Compression, minimum_size=GZIP_LEAST_BYTES, compresslevel=1),)


def message_response(message: Message) -> Response:
    """Answer with a message as JSON."""
    return JSONResponse(as_json(message))


def error_response(error: ServiceError) -> Response:
    """Answer with an error in the protocol's REST form, and our reason and status beside it."""
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after_s)))
    if error.status == "UNAUTHENTICATED":
        headers["www-authenticate"] = "Bearer"
    return JSONResponse(
        {"error": str(error), "reason": error.reason, "status": error.status},
        status_code=error.http_status,
        headers=headers,
    )


async def no_route(request: Request, error: Exception) -> Response:
    """Answer a request for an unknown route or method, as JSON."""
    assert isinstance(error, HTTPException)
    return JSONResponse(
        {"error": f"{error.detail}: {request.method} {request.url.path[:128]}"},
        status_code=error.status_code,
        headers=error.headers,
    )
