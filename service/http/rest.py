"""The REST form of the Open Inference Protocol: each route, and the rpc that answers it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from convoy.pb.inference import grpc_service_pb2 as pb
from convoy.service.call import Call, Calls
from convoy.service.errors import (
    InvalidArgumentError,
    InvalidImageError,
    ModelNotReadyError,
    UnsupportedError,
)
from convoy.service.http.body import BodyReader, while_connected
from convoy.service.http.endpoints import Endpoint, counted_route, target
from convoy.service.http.infer_body import (
    LENGTH_HEADER,
    InferBody,
    base64_hint,
    from_response,
    read_infer,
    to_request,
)
from convoy.service.http.messages import (
    as_json,
    parameter_value,
    parse_object,
    set_parameter,
    set_parameters,
)
from convoy.service.http.responses import COMPRESSED, error_response, message_response
from convoy.service.lifecycle import Lifecycle
from convoy.service.protocol.methods import InferenceProtocol

MODEL = ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
# Triton too ignores the name of a repository here, and refuses it in loads and unloads.
REPOSITORY = ("/v2/repository", "/v2/repository/{repository}")
CONTROL = "/v2/repository/models/{name}"

LOG_FIELDS: dict[type, str] = {bool: "bool_param", int: "uint32_param", str: "string_param"}
"""Fields of a setting of the log, by the type of its value in JSON."""

UNSUPPORTED = (
    *("/v2/systemsharedmemory/{rest:path}", "/v2/cudasharedmemory/{rest:path}"),
    "/v2/trace/setting",
    *(
        f"{model}/{action}"
        for model in MODEL
        for action in ("trace/setting", "generate", "generate_stream")
    ),
    *(f"/v2/repository/{{repository}}/models/{{name}}/{action}" for action in ("load", "unload")),
)
"""Routes of Triton that this server answers with 501."""


class Rest:
    """
    The endpoints of the protocol's REST form.

    Args:
        read_body: Reads the body of a request.
        max_json_bytes: Largest JSON.
    """

    def __init__(
        self,
        protocol: InferenceProtocol,
        calls: Calls,
        lifecycle: Lifecycle,
        *,
        read_body: BodyReader,
        max_json_bytes: int,
    ) -> None:
        self._protocol = protocol
        self._calls = calls
        self._lifecycle = lifecycle
        self._read_body = read_body
        self._max_json_bytes = max_json_bytes

    def routes(self) -> list[Route]:
        """Return every route, in the forms that clients of Triton and of KServe use."""
        at = self._routes
        return [
            Route("/v2/health/live", self._live, name="ServerLive"),
            Route("/v2/health/ready", self._ready, name="ServerReady"),
            *at(["/v2"], "", "ServerMetadata", self._server_metadata),
            *at(["/v2/models"], "", "ServerMetadata", self._models),
            *at(["/v2/models"], "/stats", "ModelStatistics", self._statistics),
            *at(["/v2/logging"], "", "LogSettings", self._log_settings, "GET", "POST"),
            *at(UNSUPPORTED, "", "Unsupported", _unsupported, "GET", "POST"),
            *at(MODEL, "", "ModelMetadata", self._model_metadata),
            *at(MODEL, "/ready", "ModelReady", self._model_ready),
            *at(MODEL, "/config", "ModelConfig", self._config),
            *at(MODEL, "/stats", "ModelStatistics", self._statistics),
            *at(MODEL, "/infer", "ModelInfer", self._infer, "POST", middleware=COMPRESSED),
            *at(REPOSITORY, "/index", "RepositoryIndex", self._index, "POST"),
            *at([CONTROL], "/load", "RepositoryModelLoad", self._load, "POST"),
            *at([CONTROL], "/unload", "RepositoryModelUnload", self._unload, "POST"),
        ]

    def _routes(
        self,
        prefixes: Sequence[str],
        suffix: str,
        rpc: str,
        endpoint: Endpoint,
        *methods: str,
        middleware: Sequence[Middleware] = (),
    ) -> list[Route]:
        """Return a route to *endpoint* below each of *prefixes*."""
        route = partial(counted_route, self._calls, middleware=middleware)
        return [route(prefix + suffix, rpc, endpoint, *methods) for prefix in prefixes]

    async def _object(
        self, request: Request, call: Call, members: Collection[str] | None = None
    ) -> dict[str, Any]:
        return parse_object(await self._read_body(request, call, self._max_json_bytes), members)

    # Probes of health are not calls: they would outnumber them in the metrics.
    async def _live(self, request: Request) -> Response:
        return JSONResponse({"live": True})

    async def _ready(self, request: Request) -> Response:
        if obstacle := self._lifecycle.obstacle:
            return error_response(ModelNotReadyError(obstacle))
        return JSONResponse({"ready": True})

    async def _server_metadata(self, request: Request, call: Call) -> Response:
        return message_response(
            await self._protocol.ServerMetadata(pb.ServerMetadataRequest(), call)
        )

    async def _models(self, request: Request, call: Call) -> Response:
        index = await self._protocol.RepositoryIndex(pb.RepositoryIndexRequest(ready=True), call)
        # The index has a line per version; this route lists names.
        return JSONResponse({"models": sorted({model.name for model in index.models})})

    async def _model_metadata(self, request: Request, call: Call) -> Response:
        return message_response(
            await self._protocol.ModelMetadata(pb.ModelMetadataRequest(**target(request)), call)
        )

    async def _model_ready(self, request: Request, call: Call) -> Response:
        answer = await self._protocol.ModelReady(pb.ModelReadyRequest(**target(request)), call)
        name = request.path_params["name"]
        # Over HTTP the status states readiness: 503, not 200 with false. It is an answer, as over
        # gRPC, and no failure of the call.
        if not answer.ready:
            asked = f"model {name[:64]!r}"
            if version := request.path_params.get("version"):
                asked += f" version {version[:20]}"
            return error_response(ModelNotReadyError(f"{asked} is not ready"))
        return JSONResponse({"name": name, "ready": True})

    async def _config(self, request: Request, call: Call) -> Response:
        answer = await self._protocol.ModelConfig(pb.ModelConfigRequest(**target(request)), call)
        return message_response(answer.config)

    async def _statistics(self, request: Request, call: Call) -> Response:
        asked = pb.ModelStatisticsRequest(**target(request))
        return message_response(await self._protocol.ModelStatistics(asked, call))

    async def _infer(self, request: Request, call: Call) -> Response:
        data = await self._read_body(request, call)
        header_length = request.headers.get(LENGTH_HEADER)
        model = target(request)
        name, version = model["name"], model.get("version", "")
        # Triton's raw binary request: no JSON, the whole body is the input.
        if header_length == "0":
            body = InferBody(inputs=[])
            call.label_unknown()
            asked = self._protocol.request_of_bytes(name, version, data)
        else:
            body, binary = read_infer(data, header_length, self._max_json_bytes)
            asked = to_request(body, binary, name, version)
        try:
            answer = await while_connected(request, self._protocol.ModelInfer(asked, call))
        except InvalidImageError as error:
            raise InvalidImageError(f"{error}{base64_hint(body)}") from error
        text, tensors = from_response(answer, body)
        # All outputs are in the JSON: clients without the extension expect its media type.
        if not tensors:
            return Response(text, media_type="application/json")
        headers = {LENGTH_HEADER: str(len(text))}
        return Response(text + tensors, headers=headers, media_type="application/octet-stream")

    async def _index(self, request: Request, call: Call) -> Response:
        ready = (await self._object(request, call, ["ready"])).get("ready", False)
        if not isinstance(ready, bool):
            raise InvalidArgumentError("ready must be true or false")
        answer = await self._protocol.RepositoryIndex(pb.RepositoryIndexRequest(ready=ready), call)
        return JSONResponse([as_json(model) for model in answer.models])

    async def _load(self, request: Request, call: Call) -> Response:
        asked = pb.RepositoryModelLoadRequest(model_name=request.path_params["name"])
        set_parameters(asked.parameters, await self._object(request, call, ["parameters"]))
        answer = await self._protocol.RepositoryModelLoad(asked, call)
        return JSONResponse({"name": answer.model_name, "load": answer.is_loaded})

    async def _unload(self, request: Request, call: Call) -> Response:
        asked = pb.RepositoryModelUnloadRequest(model_name=request.path_params["name"])
        set_parameters(asked.parameters, await self._object(request, call, ["parameters"]))
        answer = await self._protocol.RepositoryModelUnload(asked, call)
        return JSONResponse({"name": answer.model_name, "unload": answer.is_unloaded})

    async def _log_settings(self, request: Request, call: Call) -> Response:
        asked = pb.LogSettingsRequest()
        for name, value in (await self._object(request, call)).items():
            set_parameter(asked.settings, name, value, LOG_FIELDS)
        answer = await self._protocol.LogSettings(asked, call)
        return JSONResponse({name: parameter_value(one) for name, one in answer.settings.items()})


async def _unsupported(request: Request, call: Call) -> Response:
    raise UnsupportedError(
        f"{request.url.path[:64]} is not supported; /v2 lists the supported extensions"
    )
