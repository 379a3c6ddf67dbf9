"""The frame of every endpoint: it counts and logs requests as calls, and answers errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from convoy.service.call import Call, Calls
from convoy.service.errors import ServiceError
from convoy.service.http.body import ClientDisconnectedError
from convoy.service.http.responses import error_response
from convoy.service.telemetry.logs import Origin

Endpoint = Callable[[Request, Call], Awaitable[Response]]
"""Answers a request; gets the record of its call."""

CLIENT_CLOSED_REQUEST = 499
"""Status of an answer whose client has disconnected; nginx's."""


def counted_route(
    calls: Calls,
    path: str,
    rpc: str,
    endpoint: Endpoint,
    *methods: str,
    middleware: Sequence[Middleware] = (),
) -> Route:
    """
    Make a route to *endpoint*, whose requests are counted and logged as calls of *rpc*.

    Args:
        methods: Methods of HTTP; GET if there are none.
    """

    async def answer(request: Request) -> Response:
        origin = Origin.from_headers(request.headers.items())
        try:
            with calls.open(rpc, origin) as call:
                calls.access.sites.check(request.method, request.headers)
                response = await endpoint(request, call)
        except ServiceError as error:
            response = error_response(error)
        # Already recorded as cancelled; the answer goes nowhere, and needs no headers.
        except ClientDisconnectedError:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        response.headers.update(dict(origin.headers))
        return response

    return Route(path, answer, methods=list(methods or ("GET",)), name=rpc, middleware=middleware)


def target(request: Request) -> dict[str, str]:
    """Return the name and the version of the model in the path, as far as it has them."""
    return {
        key: request.path_params[key] for key in ("name", "version") if key in request.path_params
    }
