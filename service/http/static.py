"""The files of the page: plain HTML, CSS and JavaScript, open to all, without a fact of the server.

The chart library lies in `node_modules`, where `make page` puts it; the page does without.
"""

from __future__ import annotations

from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from convoy.service.http.responses import PACKED

WEB = Path(__file__).parents[1] / "web"

HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; object-src 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    # Kept, but asked for anew each time (by ETag): a server that was upgraded has another page.
    "cache-control": "no-cache",
}


class _WithHeaders:
    """Sends `HEADERS` with every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, send_more)


def routes() -> list[BaseRoute]:
    """The page itself, and what it is made of."""
    middleware = (Middleware(_WithHeaders), *PACKED)
    files = StaticFiles(directory=WEB)

    async def index(request: Request) -> Response:
        return await files.get_response("index.html", request.scope)

    return [
        Route("/", index, middleware=middleware),
        Mount("/web", files, middleware=middleware),
    ]
