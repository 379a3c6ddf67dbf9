"""Where a request comes from, by its headers."""

from __future__ import annotations

from starlette.requests import Request

from convoy.service.telemetry.logs import Origin


def origin_of(request: Request) -> Origin:
    """Where a request comes from."""
    sent = request.headers
    named = ("x-request-id", "traceparent", "authorization")
    return Origin.told(*(sent.get(name, "") for name in named))
