"""The table of entries: every rpc and every HTTP route, and the right that each needs.

It is generated from the code: the descriptors of the services, the routes of the HTTP application,
and the table of the access checks. `python -m tests.security.entries` prints it for
docs/reference/access.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from google.protobuf import descriptor_pool
from grpc_health.v1 import health
from starlette.routing import Mount, Route

from convoy.service.http.classify import Classify
from convoy.service.http.page import Page
from convoy.service.http.page_answers import PageAnswers
from convoy.service.http.page_class_maps import PageClassMaps
from convoy.service.http.page_occlusion import PageOcclusion
from convoy.service.http.rest import Rest
from convoy.service.http.routes import create_app
from convoy.service.http.shadow_routes import ShadowRoutes
from convoy.service.rpc.reflection import SERVICE_NAMES as REFLECTION_NAMES
from convoy.service.rpc.server import SERVICE_NAMES
from convoy.service.security.access import NEEDED, Needed

SERVICES = (*SERVICE_NAMES, health.SERVICE_NAME, *REFLECTION_NAMES)

ORDER: tuple[Needed, ...] = ("none", "any", "infer", "observe", "control")

PLACEHOLDERS = {
    "{name}": "no-such-model",
    "{version}": "1",
    "{repository}": "r",
    "{rest:path}": "app.js",
}
"""Parts of paths that name things which no server has: a call that is admitted changes nothing."""


class Rpc(NamedTuple):
    """An rpc, by its path, such as `/grpc.health.v1.Health/Check`."""

    path: str

    @property
    def method(self) -> str:
        """Its name in the table of the access checks."""
        return self.path.rsplit("/", 1)[1]


class HttpRoute(NamedTuple):
    """A route with one of its methods."""

    verb: str
    template: str
    method: str

    @property
    def path(self) -> str:
        """A path that takes this route."""
        path = self.template
        for placeholder, value in PLACEHOLDERS.items():
            path = path.replace(placeholder, value)
        return path


def rpcs() -> list[Rpc]:
    """Return every rpc that the services' descriptors state."""
    services = map(descriptor_pool.Default().FindServiceByName, SERVICES)
    return [
        Rpc(f"/{service.full_name}/{method.name}")
        for service in services
        for method in service.methods
    ]


def http_routes() -> list[HttpRoute]:
    """Return every route of the HTTP application, with each of its methods."""
    nothing: Any = None  # the routes are made, and never called
    rest = Rest(nothing, nothing, nothing, read_body=nothing, max_json_bytes=0)
    answers = PageAnswers(nothing, nothing, nothing, read_body=nothing, max_models=0)
    page = Page(
        nothing,
        nothing,
        nothing,
        grpc_port=nothing,
        max_image_bytes=0,
        answers=answers,
        class_maps=PageClassMaps(nothing, nothing, nothing, read_body=nothing),
        occlusion=PageOcclusion(nothing, nothing, read_body=nothing),
        may_control=False,
        comparison=nothing,
    )
    classify = Classify(nothing, nothing, read_body=nothing, max_images=0)
    shadows = ShadowRoutes(nothing, nothing, read_body=nothing, max_json_bytes=0)
    return list(_routes(create_app(rest, classify, shadows, page, nothing, nothing).routes))


def _routes(routes: Iterable[object]) -> Iterator[HttpRoute]:
    for route in routes:
        if isinstance(route, Mount):
            yield from (
                HttpRoute(verb, f"{route.path}/{{rest:path}}", str(route.name))
                for verb in ("GET", "HEAD")
            )
        else:
            assert isinstance(route, Route)
            verbs = sorted(route.methods or ())
            yield from (HttpRoute(verb, route.path, route.name) for verb in verbs)


def table() -> str:
    """Return the table in Markdown: a row for each method, by the right that it needs."""
    grpc, http = _rpcs_by_method(), _routes_by_method()
    rows = [
        f"| {needed} | {' '.join(grpc[method])} | {' '.join(http[method])} |"
        for needed in ORDER
        for method in sorted({*grpc, *http})
        if NEEDED[method] == needed
    ]
    return "\n".join(["| right | gRPC | HTTP |", "|---|---|---|", *rows])


def _rpcs_by_method() -> dict[str, list[str]]:
    found = defaultdict(list)
    for rpc in rpcs():
        found[rpc.method].append(f"`{rpc.path[1:]}`")
    return found


def _routes_by_method() -> dict[str, list[str]]:
    verbs = defaultdict(list)
    for route in http_routes():
        if route.verb != "HEAD":  # as GET
            verbs[route.method, route.template.replace(":path", "")].append(route.verb)
    found = defaultdict(list)
    for (method, path), taken in verbs.items():
        found[method].append(f"`{','.join(taken)} {path}`")
    return found


if __name__ == "__main__":
    print(table())
