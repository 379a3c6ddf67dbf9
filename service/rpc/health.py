"""gRPC's health service, with `List`, and without names of models for strangers."""

from __future__ import annotations

from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2

from convoy.service.rpc.unary import Metadata
from convoy.service.security.access import Access
from convoy.service.telemetry.logs import Origin

MAX_LISTED = 4096
"""Maximum number of names in an answer of `List`, which then has less than a megabyte."""

_STATUS = health_pb2.HealthCheckResponse


class HealthServicer(health.aio.HealthServicer):  # type: ignore[misc]  # it has no types
    """
    The health of the server, its services and its models.

    A client without a known token learns of a model only whether it serves: one that does not is
    answered like one that does not exist.

    Args:
        access: Knows the tokens.
        public: Names that are not models.
    """

    def __init__(self, access: Access, public: tuple[str, ...]) -> None:
        super().__init__()
        self._access = access
        self._public = frozenset(public)
        self._names = {""}

    async def set(self, service: str, status: int) -> None:
        self._names.add(service)
        await super().set(service, status)

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Any) -> Any:
        answer = await super().Check(request, context)
        if answer.status == _STATUS.NOT_SERVING and self._hides(request.service, context):
            await context.abort(grpc.StatusCode.NOT_FOUND)
        return answer

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:
        hides = self._hides(request.service, context)
        await super().Watch(request, _Hiding(context) if hides else context)

    async def List(self, request: health_pb2.HealthListRequest, context: Any) -> Any:
        """Return the status of every name; RESOURCE_EXHAUSTED if there are more than MAX_LISTED."""
        if len(self._names) > MAX_LISTED:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"there are more than {MAX_LISTED} names; ask for each with Check",
            )
        statuses = {}
        for name in sorted(self._names):
            request = health_pb2.HealthCheckRequest(service=name)
            statuses[name] = await super().Check(request, context)
        return health_pb2.HealthListResponse(statuses=statuses)

    def _hides(self, name: str, context: Any) -> bool:
        """Return whether the client must not learn that *name* exists."""
        metadata: Metadata = context.invocation_metadata() or ()
        digest = Origin.from_headers(metadata).token_digest
        return name not in self._public and not self._access.knows(digest)


class _Hiding:
    """The context of a `Watch` that tells of a model that does not serve as unknown."""

    def __init__(self, context: Any) -> None:
        self._context = context

    async def write(self, answer: Any) -> None:
        hidden = answer.status == _STATUS.NOT_SERVING
        await self._context.write(_STATUS(status=_STATUS.SERVICE_UNKNOWN) if hidden else answer)
