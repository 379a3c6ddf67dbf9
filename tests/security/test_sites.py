"""A web page of another site cannot use a server through the browser of somebody who reaches it.

The requests are those that a browser sends for such a page; tests/page has a browser send them.
"""

from __future__ import annotations

import pytest

from convoy.service.security.access import NEEDED
from convoy.service.security.sites import READING
from tests.security.entries import HttpRoute, http_routes
from tests.security.target import Credential, Target

EVIL = "evil.example"

PAGES = [
    {"origin": f"http://{EVIL}", "content-type": "text/plain"},
    {"origin": "null", "content-type": "text/plain"},
    {"origin": f"https://{EVIL}", "sec-fetch-site": "cross-site"},
    {"origin": "http://localhost:1", "sec-fetch-site": "same-site"},
    {"content-type": "application/x-www-form-urlencoded", "user-agent": "Mozilla/5.0"},
]

ANY_HOST = {"ServerLive", "ServerReady", "Metrics", "PageFiles"}
"""Routes that a server answers whatever its name: probes and scrapes, and public files."""


def credential(target: Target, route: HttpRoute) -> Credential:
    """Return one that the route admits, if the target knows any."""
    needed = NEEDED[route.method]
    right = "infer" if needed in ("none", "any") else needed
    return right if right in target.tokens else "nothing"


@pytest.mark.parametrize("page", PAGES, ids=str)
async def test_page_of_another_site(target: Target, page: dict[str, str]) -> None:
    """Every route that is not for reading refuses a page of another site, even with a token."""
    for route in [route for route in http_routes() if route.verb not in READING]:
        headers = target.headers(credential(target, route)) | page
        answer = await target.ask(route.verb, route.path, headers=headers)
        assert answer.status in (401, 403), route
        # A server that is given may offer no control, or need a token that the suite has not.
        if target.process:
            assert answer.json()["reason"] == "ORIGIN_NOT_ALLOWED", route


async def test_own_page(target: Target) -> None:
    """No route refuses the page that the server itself has sent to the browser."""
    for route in [route for route in http_routes() if route.verb not in READING]:
        page = {"origin": f"http://{target.http}", "sec-fetch-site": "same-origin"}
        headers = target.headers(credential(target, route)) | page
        answer = await target.ask(route.verb, route.path, headers=headers)
        assert b"ORIGIN_NOT_ALLOWED" not in answer.body, route


async def test_host_of_another_site(public: Target) -> None:
    """Without tokens, routes refuse a name that a site may have, but for probes and scrapes."""
    for route in http_routes():
        answer = await public.ask(route.verb, route.path, headers={"host": EVIL})
        if route.method in ANY_HOST:
            assert answer.status == 200, route
        else:
            assert answer.status == 403, route
            assert route.verb == "HEAD" or answer.json()["reason"] == "HOST_NOT_ALLOWED", route


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]", "convoy.models.svc"])
async def test_host_of_a_private_network(public: Target, host: str) -> None:
    """Without tokens, every route is there for addresses and names of private networks."""
    for route in http_routes():
        answer = await public.ask(route.verb, route.path, headers={"host": host})
        assert answer.status != 403, route


async def test_no_redirect(target: Target) -> None:
    """No path leads to a host that the client names."""
    for path in {route.path for route in http_routes()}:
        for asked in (f"{path}/", f"/{path}", f"{path}//"):
            answer = await target.ask("GET", asked, headers={"host": EVIL})
            assert not 300 <= answer.status < 400, asked
            assert "location" not in answer.headers, asked
