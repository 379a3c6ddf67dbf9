"""The HTTP application: the protocol's routes, metrics, and the page."""

from __future__ import annotations

from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.calls import failure_of
from service.errors import ServiceError
from service.http import static
from service.http.answers import PACKED, error_response, no_route
from service.http.origin import origin_of
from service.http.page import Page
from service.http.rest import Rest
from service.metrics import Metrics
from service.security.access import Access


def create_app(rest: Rest, page: Page, metrics: Metrics, access: Access) -> Starlette:
    """Make the application."""

    async def expose(request: Request) -> Response:
        try:
            access.check("Metrics", origin_of(request).token_digest)
        except ServiceError as error:
            return error_response(failure_of(error))
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(metrics.registry), headers={"content-type": content_type})

    return Starlette(
        routes=[
            Route("/metrics", expose, middleware=PACKED),
            *rest.routes(),
            *page.routes(),
            *static.routes(),
        ],
        exception_handlers={HTTPException: no_route},
    )
