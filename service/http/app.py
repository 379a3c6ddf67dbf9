"""The routes: the Open Inference Protocol's REST form, metrics, health."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from google.protobuf.message import Message
from prometheus_client.exposition import choose_encoder
from pydantic_core import from_json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from convoy.pb.inference import grpc_service_pb2 as pb
from service.calls import CallFailed, Calls, Failure, request_id
from service.errors import (
    InvalidArgumentError,
    ModelNotReadyError,
    UnsupportedError,
    http_status,
)
from service.http.body import read_body
from service.http.messages import as_json
from service.http.tensors import LENGTH_HEADER, from_response, read_infer, to_request
from service.lifecycle import Lifecycle
from service.metrics import Metrics
from service.protocol.server import InferenceProtocol

Endpoint = Callable[[Request], Awaitable[Response]]

UNSUPPORTED = (
    *("/v2/systemsharedmemory/{rest:path}", "/v2/cudasharedmemory/{rest:path}"),
    *("/v2/trace/setting", "/v2/models/{name}/trace/setting"),
    *("/v2/models/{name}/generate", "/v2/models/{name}/generate_stream"),
)
"""Routes of Triton's that this server answers with 501."""

CLIENT_LEFT = 499
"""Status of an answer that nobody reads."""

GZIP_LEAST_BYTES = 1024


class _ClientLeftError(asyncio.CancelledError):
    """The client closed the connection before its answer was there."""


class Rest:
    """
    The endpoints of the protocol's REST form.

    Args:
        max_body_bytes: Largest body, on the wire or unpacked.
        max_json_bytes: Largest JSON of an inference request.
    """

    def __init__(
        self,
        protocol: InferenceProtocol,
        calls: Calls,
        lifecycle: Lifecycle,
        *,
        max_body_bytes: int,
        max_json_bytes: int,
    ) -> None:
        self._protocol = protocol
        self._calls = calls
        self._lifecycle = lifecycle
        self._max_body_bytes = max_body_bytes
        self._max_json_bytes = max_json_bytes

    def routes(self) -> list[Route]:
        """Every route, each in the forms that clients of Triton and KServe use."""
        model = ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
        repository = ("/v2/repository", "/v2/repository/{repository}")
        return [
            Route("/v2/health/live", self._live),
            Route("/v2/health/ready", self._ready),
            self._route("/v2", "ServerMetadata", self._server_metadata),
            self._route("/v2/models", "ServerMetadata", self._models),
            self._route("/v2/models/stats", "ModelStatistics", self._statistics),
            self._route("/v2/logging", "LogSettings", self._log_settings, "GET", "POST"),
            *(
                self._route(path, "Unsupported", _unsupported, "GET", "POST")
                for path in UNSUPPORTED
            ),
            *(self._route(path, "ModelMetadata", self._model_metadata) for path in model),
            *(self._route(f"{path}/ready", "ModelReady", self._model_ready) for path in model),
            *(self._route(f"{path}/config", "ModelConfig", self._config) for path in model),
            *(self._route(f"{path}/stats", "ModelStatistics", self._statistics) for path in model),
            *(self._route(f"{path}/infer", "ModelInfer", self._infer, "POST") for path in model),
            *(
                self._route(f"{path}/index", "RepositoryIndex", self._index, "POST")
                for path in repository
            ),
            *(
                self._route(
                    f"{path}/models/{{name}}/load", "RepositoryModelLoad", self._load, "POST"
                )
                for path in repository
            ),
            *(
                self._route(
                    f"{path}/models/{{name}}/unload", "RepositoryModelUnload", self._unload, "POST"
                )
                for path in repository
            ),
        ]

    def _route(self, path: str, rpc: str, endpoint: Endpoint, *methods: str) -> Route:
        """A route whose calls are counted as those of *rpc*."""

        async def answer(request: Request) -> Response:
            identifier = request_id(request.headers.get("x-request-id", ""))
            try:
                with self._calls.answering(rpc, identifier):
                    response = await endpoint(request)
            except CallFailed as failed:
                response = error_response(failed.failure)
            except _ClientLeftError:
                return Response(status_code=CLIENT_LEFT)
            response.headers["x-request-id"] = identifier
            return response

        return Route(path, answer, methods=list(methods or ("GET",)))

    async def _live(self, request: Request) -> Response:
        return Response()

    async def _ready(self, request: Request) -> Response:
        if self._lifecycle.ready:
            return Response()
        error = ModelNotReadyError(f"the server is {self._lifecycle.phase.value}")
        return error_response(Failure(error.status, error.reason, str(error)))

    async def _server_metadata(self, request: Request) -> Response:
        return _told(await self._protocol.server_metadata(pb.ServerMetadataRequest()))

    async def _models(self, request: Request) -> Response:
        index = await self._protocol.repository_index(pb.RepositoryIndexRequest(ready=True))
        return JSONResponse({"models": sorted({model.name for model in index.models})})

    async def _model_metadata(self, request: Request) -> Response:
        return _told(
            await self._protocol.model_metadata(pb.ModelMetadataRequest(**_named(request)))
        )

    async def _model_ready(self, request: Request) -> Response:
        answer = await self._protocol.model_ready(pb.ModelReadyRequest(**_named(request)))
        if not answer.ready:
            raise ModelNotReadyError(f"model {request.path_params['name'][:64]!r} is not ready")
        return _told(answer)

    async def _config(self, request: Request) -> Response:
        answer = await self._protocol.model_config(pb.ModelConfigRequest(**_named(request)))
        return _told(answer.config)

    async def _statistics(self, request: Request) -> Response:
        asked = pb.ModelStatisticsRequest(**_named(request))
        return _told(await self._protocol.model_statistics(asked))

    async def _infer(self, request: Request) -> Response:
        data = await read_body(request, self._max_body_bytes)
        header_length = request.headers.get(LENGTH_HEADER)
        body, binary = read_infer(data, header_length, self._max_json_bytes)
        named = _named(request)
        asked = to_request(body, binary, named["name"], named.get("version", ""))
        answer = await _while_connected(request, self._protocol.model_infer(asked))
        text, tensors = from_response(answer, body)
        if not tensors:
            return Response(text, media_type="application/json")
        headers = {LENGTH_HEADER: str(len(text))}
        return Response(text + tensors, headers=headers, media_type="application/octet-stream")

    async def _index(self, request: Request) -> Response:
        ready = (await self._json(request)).get("ready", False) is True
        answer = await self._protocol.repository_index(pb.RepositoryIndexRequest(ready=ready))
        return JSONResponse([as_json(model) for model in answer.models])

    async def _load(self, request: Request) -> Response:
        asked = pb.RepositoryModelLoadRequest(model_name=request.path_params["name"])
        _set_parameters(asked.parameters, await self._json(request))
        answer = await self._protocol.repository_model_load(asked)
        return JSONResponse({"name": answer.model_name, "load": answer.is_loaded})

    async def _unload(self, request: Request) -> Response:
        asked = pb.RepositoryModelUnloadRequest(model_name=request.path_params["name"])
        _set_parameters(asked.parameters, await self._json(request))
        answer = await self._protocol.repository_model_unload(asked)
        return JSONResponse({"name": answer.model_name, "unload": answer.is_unloaded})

    async def _log_settings(self, request: Request) -> Response:
        asked = pb.LogSettingsRequest()
        for name, value in (await self._json(request)).items():
            _set(asked.settings[name], value, {bool: "bool", int: "uint32", str: "string"})
        answer = await self._protocol.log_settings(asked)
        return JSONResponse(
            {
                name: getattr(value, value.WhichOneof("parameter_choice") or "")
                for name, value in answer.settings.items()
            }
        )

    async def _json(self, request: Request) -> dict[str, Any]:
        """A small JSON object; empty if there is no body."""
        body = await read_body(request, self._max_json_bytes)
        if not body.strip():
            return {}
        try:
            values = from_json(body)
        except ValueError as error:
            raise InvalidArgumentError(f"the body is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise InvalidArgumentError("the body is not a JSON object")
        return values


def create_app(rest: Rest, metrics: Metrics) -> Starlette:
    """Make the application."""

    async def expose(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(metrics.registry), headers={"content-type": content_type})

    return Starlette(
        routes=[Route("/metrics", expose), *rest.routes()],
        middleware=[Middleware(GZipMiddleware, minimum_size=GZIP_LEAST_BYTES, compresslevel=1)],
        exception_handlers={HTTPException: _no_route},
    )


def error_response(failure: Failure) -> Response:
    """Tell a failure as the protocol's REST form has it, with our reason and status beside."""
    headers = {}
    if failure.retry_after_s is not None:
        headers["retry-after"] = str(max(1, round(failure.retry_after_s)))
    return JSONResponse(
        {"error": failure.details, "reason": failure.reason, "status": failure.status},
        status_code=http_status(failure.status, failure.reason),
        headers=headers,
    )


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse(
        {"error": f"{error.detail}: {request.method} {request.url.path[:128]}"},
        status_code=error.status_code,
        headers=error.headers,
    )


async def _unsupported(request: Request) -> Response:
    raise UnsupportedError(f"this server has no {request.url.path[:64]}: see /v2's extensions")


async def _while_connected(
    request: Request, work: Coroutine[Any, Any, pb.ModelInferResponse]
) -> pb.ModelInferResponse:
    """Await *work*; withdraw it if the client closes the connection meanwhile."""
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_until_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise _ClientLeftError
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _named(request: Request) -> dict[str, str]:
    """Name and version of the model that the path names."""
    return {
        key: request.path_params[key] for key in ("name", "version") if key in request.path_params
    }


def _told(message: Message) -> Response:
    return JSONResponse(as_json(message))


def _set_parameters(target: Any, body: dict[str, Any]) -> None:
    """Parameters of a repository request; files are base64."""
    parameters = body.get("parameters", {})
    if not isinstance(parameters, dict):
        raise InvalidArgumentError("parameters is not a JSON object")
    for name, value in parameters.items():
        if name.startswith("file:") and isinstance(value, str):
            target[name].bytes_param = b64decode(value)
        else:
            _set(target[name], value, {bool: "bool", int: "int64", str: "string"})


def _set(target: Any, value: object, kinds: dict[type, str]) -> None:
    kind = kinds.get(type(value))
    if kind is None:
        raise InvalidArgumentError(
            f"a value is {str(value)[:32]!r}: no {', '.join(kinds.values())}"
        )
    try:
        setattr(target, f"{kind}_param", value)
    except ValueError as error:
        raise InvalidArgumentError(f"a value is out of range: {str(value)[:32]}") from error
