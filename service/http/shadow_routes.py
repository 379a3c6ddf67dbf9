"""Shadows of models over HTTP: the JSON form of `convoy.v1.ShadowService`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from convoy.pb.convoy.v1 import shadow_pb2 as pb
from convoy.service.call import Call, Calls
from convoy.service.errors import InvalidArgumentError
from convoy.service.http.body import BodyReader
from convoy.service.http.endpoints import counted_route
from convoy.service.http.messages import as_json, parse_object
from convoy.service.protocol.shadow_control import ShadowProtocol

SHADOW = "/v1/models/{name}/shadow"


class ShadowRoutes:
    """
    The endpoints of shadows.

    Args:
        read_body: Reads the body of a request.
        max_json_bytes: Size limit of a JSON body.
    """

    def __init__(
        self, protocol: ShadowProtocol, calls: Calls, *, read_body: BodyReader, max_json_bytes: int
    ) -> None:
        self._protocol = protocol
        self._calls = calls
        self._read_body = read_body
        self._max_json_bytes = max_json_bytes

    def routes(self) -> list[Route]:
        """Return every route."""
        route = partial(counted_route, self._calls)
        return [
            route(SHADOW, "GetShadow", self._get),
            route(f"{SHADOW}/start", "StartShadow", self._start, "POST"),
            route(f"{SHADOW}/stop", "StopShadow", self._stop, "POST"),
            route("/v1/models/{name}/promote", "PromoteShadow", self._promote, "POST"),
        ]

    async def _get(self, request: Request, call: Call) -> Response:
        asked = pb.GetShadowRequest(model=request.path_params["name"])
        answer = await self._protocol.GetShadow(asked, call)
        return JSONResponse(as_json(answer.shadow))

    async def _start(self, request: Request, call: Call) -> Response:
        asked = pb.StartShadowRequest(model=request.path_params["name"])
        await self._read(request, call, asked)
        answer = await self._protocol.StartShadow(asked, call)
        return JSONResponse(as_json(answer.shadow))

    async def _stop(self, request: Request, call: Call) -> Response:
        asked = pb.StopShadowRequest(model=request.path_params["name"])
        await self._read(request, call, asked)
        await self._protocol.StopShadow(asked, call)
        return JSONResponse({})

    async def _promote(self, request: Request, call: Call) -> Response:
        asked = pb.PromoteShadowRequest(model=request.path_params["name"])
        await self._read(request, call, asked)
        answer = await self._protocol.PromoteShadow(asked, call)
        return JSONResponse(as_json(answer.shadow))

    async def _read(self, request: Request, call: Call, asked: Message) -> None:
        """Set the fields of *asked*, except the model, from the body."""
        fields = [field.name for field in asked.DESCRIPTOR.fields if field.name != "model"]
        body = await self._read_body(request, call, self._max_json_bytes)
        _set_fields(asked, parse_object(body, fields))


def _set_fields(asked: Message, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        whole = asked.DESCRIPTOR.fields_by_name[name].cpp_type == FieldDescriptor.CPPTYPE_INT64
        # protobuf would accept true as 1, and 2.0 as 2.
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            kind = "a whole number" if whole else "a number"
            raise InvalidArgumentError(f"{name} is {str(value)[:32]!r}: expected {kind}")
        try:
            setattr(asked, name, value)
        except (ValueError, OverflowError) as error:
            raise InvalidArgumentError(f"{name} is out of range: {str(value)[:32]}") from error
