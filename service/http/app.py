"""The HTTP application: the protocol's routes, and metrics."""

from __future__ import annotations

from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.http.answers import PACKED, no_route
from service.http.rest import Rest
from service.metrics import Metrics


def create_app(rest: Rest, metrics: Metrics) -> Starlette:
    """Make the application."""

    async def expose(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(metrics.registry), headers={"content-type": content_type})

    return Starlette(
        routes=[Route("/metrics", expose, middleware=PACKED), *rest.routes()],
        exception_handlers={HTTPException: no_route},
    )
