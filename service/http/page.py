"""The page: its files, and small JSON for what the protocol's routes do not answer.

The files are plain HTML, CSS and JavaScript. They contain no data of the server: anybody may read
them. `make page` puts libraries for charts and graphs into `node_modules`; the page works without
them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import convoy
from convoy.service.call import Call, Calls
from convoy.service.errors import InvalidArgumentError, ServiceError, StartError, UnsupportedError
from convoy.service.http.endpoints import counted_route, target
from convoy.service.http.openapi import document
from convoy.service.http.page_answers import PageAnswers
from convoy.service.http.page_class_maps import PageClassMaps
from convoy.service.http.page_occlusion import PageOcclusion
from convoy.service.http.responses import COMPRESSED
from convoy.service.serving.registry import ModelRegistry
from convoy.service.serving.served_model import ServedModel
from convoy.service.telemetry.history import History

WEB = Path(__file__).parents[1] / "web"

HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; object-src 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    # Cached, but checked each time (by ETag): an upgraded server has another page.
    "cache-control": "no-cache",
}

_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+/?")

DOCS_POLICY = f"{HEADERS['content-security-policy']}; img-src 'self' data:"
"""The policy of /docs: Swagger UI's style sheet holds its icons."""

COMPARISON_VERSION = 5
"""`schema_version` of the comparisons that the page shows."""

_MODEL = "/page/models/{name}/versions/{version}"


class Page:
    """
    The endpoints of the page.

    Args:
        grpc_port: Returns the port that gRPC listens on.
        max_image_bytes: Largest encoded image; the page refuses larger ones itself.
        answers: Answers for one image of several models.
        class_maps: Explains the answers of models that average their last feature maps.
        occlusion: Explains the answers of any model.
        may_control: Whether the server loads and unloads models by request.
        comparison: Output of `convoy compare --json`; empty if there is none.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        history: History,
        calls: Calls,
        *,
        grpc_port: Callable[[], int],
        max_image_bytes: int,
        answers: PageAnswers,
        class_maps: PageClassMaps,
        occlusion: PageOcclusion,
        may_control: bool,
        comparison: bytes,
    ) -> None:
        self._registry = registry
        self._history = history
        self._calls = calls
        self._grpc_port = grpc_port
        self._max_image_bytes = max_image_bytes
        self._answers = answers
        self._class_maps = class_maps
        self._occlusion = occlusion
        self._may_control = may_control
        self._comparison = comparison

    def routes(self) -> list[Route]:
        """Return every route."""
        route = partial(counted_route, self._calls, middleware=COMPRESSED)
        return [
            route("/page/models", "PageModels", self._models),
            route(f"{_MODEL}/layers", "PageLayers", self._layers),
            route("/page/answers", "PageAnswers", self._answers.answer, "POST"),
            route(f"{_MODEL}/class-maps", "PageClassMaps", self._class_maps.answer, "POST"),
            route(f"{_MODEL}/occlusion", "PageOcclusion", self._occlusion.answer, "POST"),
            # Uncompressed: compressing ten minutes of many models would delay every other request.
            route("/page/history", "PageHistory", self._samples, middleware=()),
            route("/page/comparison", "PageComparison", self._compared),
        ]

    async def _models(self, request: Request, call: Call) -> Response:
        models = [_describe(model) for model in self._registry.models()]
        return _json(
            to_json(
                {
                    "grpc_port": self._grpc_port(),
                    "max_image_bytes": self._max_image_bytes,
                    "can_control": self._may_control and self._allows_control(call),
                    "models": models,
                }
            )
        )

    def _allows_control(self, call: Call) -> bool:
        """Return whether the client of *call* may load models over this port."""
        try:
            self._calls.access.check("RepositoryModelLoad", call.origin.token_digest)
        except ServiceError:
            return False
        return True

    async def _layers(self, request: Request, call: Call) -> Response:
        model = self._registry.find(call, **target(request))
        # Older artifacts have no layer table.
        if model.layers is None:
            raise UnsupportedError(
                f"{model.name} version {model.version} was made before artifacts listed their "
                f"layers: run `convoy describe {model.name} --save` to add them"
            )
        return _json(to_json(model.layers.as_dict()))

    async def _samples(self, request: Request, call: Call) -> Response:
        number = request.query_params.get("since", "0")
        if not (number.isascii() and number.isdecimal() and len(number) < 20):
            raise InvalidArgumentError(f"since is {number[:32]!r}: expected the number of a sample")
        return _json(self._history.since(int(number)))

    async def _compared(self, request: Request, call: Call) -> Response:
        return _json(self._comparison or b"null")


def read_comparison(path: str) -> bytes:
    """
    Read the output of `convoy compare --json`; empty if *path* is.

    Raises:
        StartError: If the file cannot be read, is not JSON, or is of another version of convoy.
    """
    if not path:  # the page then shows this server's own times
        return b""
    try:
        content = Path(path).read_bytes()
        found = from_json(content)
    except OSError as error:
        raise StartError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise StartError(f"{path} is not valid JSON: {error}") from error
    # The page knows one version only; `convoy compare` reads older ones.
    if not isinstance(found, dict) or found.get("schema_version") != COMPARISON_VERSION:
        raise StartError(
            f"{path} is not a comparison of schema_version {COMPARISON_VERSION}; convert it with "
            f"`convoy compare --from {path} --json FILE`"
        )
    return content


def _json(text: bytes) -> Response:
    return Response(text, media_type="application/json", headers={"cache-control": "no-store"})


def _describe(model: ServedModel) -> dict[str, Any]:
    """Describe a model by its manifest, without labels, and by the way it is served."""
    manifest, session = model.manifest, model.session
    scores = manifest.probabilities or manifest.scores
    return {
        "manifest": manifest.model_dump(mode="json", exclude={"labels"}),
        "class_count": len(manifest.labels),
        "scores": {"name": scores.name, "kind": scores.kind},
        "provider": session.provider,
        "precision": session.precision,
        "fallback_reason": session.fallback_reason,
        "nodes": session.nodes,
        "load_s": model.load_s,
        "max_batch_size": model.max_batch_size,
        "max_queue_size": model.policy.max_queue_size,
        "has_layers": model.layers is not None,
        "no_class_maps": model.no_class_maps,
    }


def file_routes() -> list[BaseRoute]:
    """Return the routes of the pages themselves, and of the files that they load."""
    middleware = (Middleware(_WithHeaders), *COMPRESSED)
    files = StaticFiles(directory=WEB)
    description = document(convoy.__version__)

    async def index(request: Request) -> Response:
        return await files.get_response("index.html", request.scope)

    async def docs(request: Request) -> Response:
        answer = await files.get_response("docs.html", request.scope)
        answer.headers["content-security-policy"] = DOCS_POLICY
        return answer

    async def openapi(request: Request) -> Response:
        # The paths are below that of the proxy: it tells, or the server was told.
        prefix = request.headers.get("x-forwarded-prefix") or request.scope.get("root_path", "")
        servers = [{"url": prefix.rstrip("/")}] if _PREFIX.fullmatch(prefix) else []
        return Response(to_json(description | {"servers": servers}), media_type="application/json")

    return [
        Route("/", index, name="PageFiles", middleware=middleware),
        Route("/docs", docs, name="PageFiles", middleware=middleware),
        Route("/openapi.json", openapi, name="PageFiles", middleware=middleware),
        Mount("/web", files, name="PageFiles", middleware=middleware),
    ]


class _WithHeaders:
    """Adds `HEADERS` to every answer, unless it has its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_more)
