"""The HTTP application: the protocol's routes, metrics, and the page."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from convoy.service.errors import ServiceError
from convoy.service.http.classify import Classify
from convoy.service.http.infer_body import LENGTH_HEADER
from convoy.service.http.page import Page, file_routes
from convoy.service.http.responses import COMPRESSED, error_response, no_route
from convoy.service.http.rest import Rest
from convoy.service.http.shadow_routes import ShadowRoutes
from convoy.service.security.access import Access
from convoy.service.telemetry.logs import Origin
from convoy.service.telemetry.metrics import Metrics

EXPOSED = ("x-request-id", "traceparent", "retry-after", LENGTH_HEADER)
"""Headers of answers that scripts of other origins may read, beside the usual ones."""


def outermost(app: ASGIApp, *, root_path: str, cors_origins: Sequence[str]) -> ASGIApp:
    """
    Put an application behind a path and open it to web pages of other origins.

    Args:
        root_path: Path under which it also answers, such as `/models`; empty for none.
        cors_origins: Origins, or `*`.
    """
    if root_path:

        async def redirect(request: Request) -> Response:
            # Relative, for any host and path that a proxy adds.
            return RedirectResponse(f"{root_path.rpartition('/')[2]}/")

        # The mount sets `root_path`, by which routes find their own part of the path.
        app = Starlette(
            routes=[Route(root_path, redirect), Mount(root_path, app), Mount("", app)],
        )
        app.router.redirect_slashes = False
    if not cors_origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=cors_origins,
        allow_methods=("GET", "POST"),
        allow_headers=("*",),
        expose_headers=EXPOSED,
    )


def create_app(
    rest: Rest,
    classify: Classify,
    shadows: ShadowRoutes,
    page: Page,
    metrics: Metrics,
    access: Access,
) -> Starlette:
    """Make the application of all routes; each is named by the method whose right it needs."""

    async def expose(request: Request) -> Response:
        # A scrape is not a call: it is neither counted nor logged.
        try:
            access.check("Metrics", Origin.from_headers(request.headers.items()).token_digest)
        except ServiceError as error:
            return error_response(error)
        await metrics.refresh()
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(metrics.registry), headers={"content-type": content_type})

    app = Starlette(
        routes=[
            Route("/metrics", expose, name="Metrics", middleware=COMPRESSED),
            *rest.routes(),
            *classify.routes(),
            *shadows.routes(),
            *page.routes(),
            *file_routes(),
        ],
        exception_handlers={HTTPException: no_route},
    )
    # A path with a slash too many is unknown: a redirect would lead to the host that the client
    # named.
    app.router.redirect_slashes = False
    return app
