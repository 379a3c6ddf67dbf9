"""Classification as plain HTTP calls: an image in, its labels out, as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from convoy.pb.convoy.v1 import classifier_pb2 as pb
from convoy.service.call import Call, Calls
from convoy.service.errors import InvalidArgumentError, InvalidImageError, ModelNotFoundError
from convoy.service.http.body import BodyReader, while_connected
from convoy.service.http.endpoints import counted_route, target
from convoy.service.http.images import image_hint, read_images
from convoy.service.http.messages import as_json
from convoy.service.protocol.classifier import ClassifierProtocol

MODEL = ("/v1/models/{name}", "/v1/models/{name}/versions/{version}")

MAX_TIMEOUT_S = 86_400.0
"""Longest time that a request may state, in seconds: a day."""


class Options(NamedTuple):
    """
    The options of a classification.

    Attributes:
        top_k: Number of classes; 0 takes the server's default.
        timeout_s: Time that the client waits, in seconds; inf if it states none.
    """

    top_k: int = 0
    timeout_s: float = math.inf

    @classmethod
    def parse(cls, given: Sequence[tuple[str, str]]) -> Options:
        """
        Parse the options of a query or a form.

        Raises:
            InvalidArgumentError: If one is unknown or given twice, or its value is not valid.
        """
        texts = dict(given)
        if len(texts) != len(given):
            raise InvalidArgumentError("an option is given twice: give each only once")
        if unknown := sorted(texts.keys() - set(cls._fields)):
            raise InvalidArgumentError(
                f"unknown option {unknown[0][:64]!r}: expected {' or '.join(cls._fields)}"
            )
        top_k, timeout_s = texts.get("top_k", "0"), texts.get("timeout_s", "inf")
        if not (top_k.isascii() and top_k.isdecimal() and len(top_k) < 10):
            raise InvalidArgumentError(f"top_k is {top_k[:32]!r}: expected a number of classes")
        return cls(int(top_k), _seconds(timeout_s) if "timeout_s" in texts else math.inf)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= MAX_TIMEOUT_S:
        raise InvalidArgumentError(
            f"timeout_s is {text[:32]!r}: expected seconds, above 0 and at most {MAX_TIMEOUT_S:g}"
        )
    return seconds


class Classify:
    """
    The endpoints.

    Args:
        read_body: Reads the body of a request.
        max_images: Maximum number of images in one request.
    """

    def __init__(
        self,
        protocol: ClassifierProtocol,
        calls: Calls,
        *,
        read_body: BodyReader,
        max_images: int,
    ) -> None:
        self._protocol = protocol
        self._calls = calls
        self._read_body = read_body
        self._max_images = max_images

    def routes(self) -> list[Route]:
        """Return every route."""
        route = partial(counted_route, self._calls)
        return [
            route("/v1/models", "ListModels", self._list),
            *(route(path, "ListModels", self._describe) for path in MODEL),
            *(route(f"{path}/classify", "Classify", self._classify, "POST") for path in MODEL),
        ]

    async def _list(self, request: Request, call: Call) -> Response:
        listed = await self._protocol.ListModels(pb.ListModelsRequest(), call)
        models = [as_json(model) for model in listed.models]
        # A model has up to tens of thousands of labels; its own route has them.
        for model in models:
            del model["labels"]
        return JSONResponse({"models": models})

    async def _describe(self, request: Request, call: Call) -> Response:
        return JSONResponse(as_json(self._protocol.describe(call, **target(request))))

    async def _classify(self, request: Request, call: Call) -> Response:
        body = await self._read_body(request, call)
        try:
            return await self._answer(request, body, call)
        except InvalidImageError as error:
            raise InvalidImageError(f"{error}{image_hint(request, body)}") from error

    async def _answer(self, request: Request, body: bytes, call: Call) -> Response:
        images, fields = await read_images(request, body, self._max_images)
        options = Options.parse([*request.query_params.multi_items(), *fields])
        call.deadline = call.received_at + options.timeout_s
        asked = {
            "model": request.path_params["name"],
            "model_version": version_number(request.path_params.get("version")),
            "top_k": options.top_k,
        }
        # One image: its result is the answer.
        if len(images) == 1:
            one = pb.ClassifyRequest(image=images[0].data, **asked)
            response = await while_connected(request, self._protocol.Classify(one, call))
            return JSONResponse(as_result(response))
        # Several: an answer for each, as the failure of one does not affect the others.
        many = pb.ClassifyBatchRequest(images=[image.data for image in images], **asked)
        batch = await while_connected(request, self._protocol.ClassifyBatch(many, call))
        outcomes = zip(images, batch.outcomes, strict=True)
        return JSONResponse(
            {"results": [{"file": image.file} | _outcome(one) for image, one in outcomes]}
        )


def version_number(text: str | None) -> int:
    """
    Return the version that a path names; 0 if it names none.

    Raises:
        ModelNotFoundError: If it is no number of a version.
    """
    if text is None:
        return 0
    # Numbers too large for the message are not versions, either.
    is_number = text.isascii() and text.isdecimal() and len(text) < 11
    if not is_number or not 0 < int(text) < 2**31 or text.startswith("0"):
        raise ModelNotFoundError(f"invalid version {text[:20]!r}: expected a number from 1 on")
    return int(text)


def _outcome(outcome: pb.Outcome) -> dict[str, Any]:
    """Return the result of one of several images, or its error."""
    if outcome.HasField("response"):
        return as_result(outcome.response)
    return {"error": outcome.error.message, "reason": outcome.error.reason}


def as_result(response: pb.ClassifyResponse) -> dict[str, Any]:
    """Return a response as JSON, with probabilities as short as float32 allows."""
    result = as_json(response)
    for prediction in result["predictions"]:
        prediction["probability"] = float(f"{prediction['probability']:.8g}")
    return result
