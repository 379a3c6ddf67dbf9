"""Web pages of other origins, and a path that a proxy adds: what browsers and proxies need."""

from __future__ import annotations

import pytest

from convoy.service.settings import Settings
from tests.harness.calls import INFER, check_error, classes, infer_body
from tests.harness.http import ask
from tests.harness.images import png
from tests.harness.server import Running, Serve

APP = "https://app.example"
CLASSIFY = "/v1/models/tiny/classify"
PREFLIGHT = {
    "origin": APP,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization, content-type",
}


async def test_page_of_an_allowed_origin(serve: Serve) -> None:
    """
    A page of an origin that the operator names may send requests, and read answers and errors.
    """
    async with serve(cors_origins=[APP]) as running:
        preflight = await ask("OPTIONS", running.url + CLASSIFY, headers=PREFLIGHT)
        assert preflight.status == 200
        assert preflight.headers["access-control-allow-origin"] == APP
        assert "POST" in preflight.headers["access-control-allow-methods"]
        assert "authorization" in preflight.headers["access-control-allow-headers"]
        sent = {"origin": APP, "sec-fetch-site": "cross-site", "content-type": "image/png"}
        for body, status in ((png(1), 200), (b"no image", 400)):
            answer = await ask("POST", running.url + CLASSIFY, body, sent)
            assert answer.status == status
            assert answer.headers["access-control-allow-origin"] == APP
            assert "x-request-id" in answer.headers["access-control-expose-headers"]


async def test_page_of_another_origin(serve: Serve) -> None:
    """
    A page of an origin that is not named is refused, and no header lets it read anything.
    """
    async with serve(cors_origins=[APP]) as running:
        sent = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
        answer = await ask("POST", running.url + CLASSIFY, png(1), sent)
        assert "--cors-origins" in check_error(answer, 403, "ORIGIN_NOT_ALLOWED")
        assert "access-control-allow-origin" not in answer.headers
        preflight = await ask("OPTIONS", running.url + CLASSIFY, headers=PREFLIGHT | sent)
        assert preflight.status == 400
        assert "access-control-allow-origin" not in preflight.headers


async def test_no_origin_by_default(running: Running) -> None:
    """
    Without the setting, a preflight is no route, and answers state no origin.
    """
    preflight = await ask("OPTIONS", running.url + CLASSIFY, headers=PREFLIGHT)
    assert preflight.status == 405
    answer = await ask("GET", f"{running.url}/v1/models", headers={"origin": APP})
    assert answer.status == 200
    assert "access-control-allow-origin" not in answer.headers


def test_any_origin_needs_tokens() -> None:
    """
    Any page may use the server only if it needs a token.
    """
    with pytest.raises(ValueError, match="--cors-origins \\* needs --token-file"):
        Settings(cors_origins=["*"])
    assert Settings(cors_origins=["*"], token_file="tokens").cors_origins == ["*"]


async def test_path_that_the_proxy_keeps(serve: Serve) -> None:
    """
    Below the root path everything answers as without it, the page included.
    """
    async with serve(http_root_path="/models/a") as running:
        for prefix in ("", "/models/a"):
            url = running.url + prefix
            assert (await ask("GET", f"{url}/v2/health/ready")).status == 200
            assert classes(await ask("POST", url + INFER, infer_body(2))) == [2]
            for path in ("/", "/docs", "/web/app.js", "/metrics"):
                answer = await ask("GET", url + path)
                assert answer.status == 200
                assert "location" not in answer.headers
            check_error(await ask("GET", f"{url}/v2/models/huge"), 404, "MODEL_NOT_FOUND")
            missing = await ask("GET", f"{url}/nowhere")
            assert (missing.status, list(missing.json())) == (404, ["error"])
        described = (await ask("GET", f"{running.url}/models/a/openapi.json")).json()
        assert described["servers"] == [{"url": "/models/a"}]


async def test_root_path_without_its_slash(serve: Serve) -> None:
    """
    The root path leads to the page, by a redirect that names neither a host nor a proxy's path.
    """
    async with serve(http_root_path="/models/a") as running:
        for headers in ({}, {"x-forwarded-prefix": "/models"}, {"host": "evil.example"}):
            answer = await ask("GET", f"{running.url}/models/a", headers=headers)
            assert (answer.status, answer.headers["location"]) == (307, "a/")
        assert (await ask("POST", f"{running.url}/models/a")).status == 404
        assert (await ask("GET", f"{running.url}/models")).status == 404


@pytest.mark.parametrize(
    ("prefix", "servers"),
    [("/models", [{"url": "/models"}]), ("//evil.example", []), ("javascript:x", []), ("", [])],
)
async def test_path_that_the_proxy_removes(
    running: Running, prefix: str, servers: list[dict[str, str]]
) -> None:
    """
    The description of the API states the path that the proxy tells, unless it is none.
    """
    headers = {"x-forwarded-prefix": prefix} if prefix else {}
    answer = await ask("GET", f"{running.url}/openapi.json", headers=headers)
    assert answer.json()["servers"] == servers
