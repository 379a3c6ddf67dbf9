"""One image to several models, for the page: uploaded once, whatever the number of models."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from convoy.pb.convoy.v1 import classifier_pb2 as pb
from convoy.service.call import Call, Calls
from convoy.service.errors import InvalidArgumentError, ServiceError
from convoy.service.http.body import BodyReader, while_connected
from convoy.service.http.classify import as_result, version_number
from convoy.service.protocol.classifier import ClassifierProtocol
from convoy.service.serving.registry import ModelRegistry


class PageAnswers:
    """
    The endpoint.

    Args:
        read_body: Reads the body of a request.
        max_models: Maximum number of models in one request.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        protocol: ClassifierProtocol,
        calls: Calls,
        *,
        read_body: BodyReader,
        max_models: int,
    ) -> None:
        self._registry = registry
        self._protocol = protocol
        self._calls = calls
        self._read_body = read_body
        self._max_models = max_models

    async def answer(self, request: Request, call: Call) -> Response:
        """
        Answer with one result or error for each `model=NAME/VERSION` of the query, in order.

        Each result holds the image as the network sees it, unless the query says `preview=false`.
        """
        models = request.query_params.getlist("model")
        if not 1 <= len(models) <= self._max_models:
            raise InvalidArgumentError(
                f"the query names {len(models)} models; it must name 1 to {self._max_models}, "
                "each as model=NAME/VERSION"
            )
        preview = request.query_params.get("preview", "true")
        if preview not in ("true", "false"):
            raise InvalidArgumentError(f"preview is {preview[:32]!r}: expected true or false")
        image = await self._read_body(request, call)
        asked = self._ask_all(models, image, call, has_preview=preview == "true")
        return JSONResponse({"answers": await while_connected(request, asked)})

    async def _ask_all(
        self, models: list[str], image: bytes, whole: Call, *, has_preview: bool
    ) -> list[dict[str, Any]]:
        return await asyncio.gather(
            *(self._ask(model, image, whole, has_preview=has_preview) for model in models)
        )

    async def _ask(
        self, model: str, image: bytes, whole: Call, *, has_preview: bool
    ) -> dict[str, Any]:
        """Ask one model; its failure does not affect the others."""
        name, _, version = model.rpartition("/")
        try:
            number = version_number(version)
            request = pb.ClassifyRequest(image=image, model=name, model_version=number)
            # Counted like any other classification.
            with self._calls.open("Classify", whole.origin) as call:
                response = await self._protocol.Classify(request, call)
            served = self._registry.get(name, version)
            seen = b64encode(await served.preview(image)).decode() if has_preview else None
        except ServiceError as error:
            return {
                "error": str(error),
                "reason": error.reason,
                "status": error.http_status,
                "retry_after_s": error.retry_after_s,
            }
        return as_result(response) | {"provider": served.provider, "preview": seen}
