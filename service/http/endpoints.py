"""What stands around every endpoint: it is counted and logged as a call, its errors are told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from convoy.service.call import CallFailed, Calls
from convoy.service.http.disconnect import ClientLeftError
from convoy.service.http.origin import origin_of
from convoy.service.http.responses import error_response

Endpoint = Callable[[Request], Awaitable[Response]]

CLIENT_LEFT = 499
"""Status of an answer that nobody reads."""


def counted(calls: Calls, method: str, endpoint: Endpoint) -> Endpoint:
    """Make the requests of *endpoint* calls of *method*."""

    async def answer(request: Request) -> Response:
        origin = origin_of(request)
        try:
            with calls.answering(method, origin):
                response = await endpoint(request)
        except CallFailed as failed:
            response = error_response(failed.failure)
        except ClientLeftError:
            return Response(status_code=CLIENT_LEFT)
        response.headers.update(dict(origin.headers))
        return response

    return answer


def named(request: Request) -> dict[str, str]:
    """Name and version of the model that the path names."""
    return {
        key: request.path_params[key] for key in ("name", "version") if key in request.path_params
    }
