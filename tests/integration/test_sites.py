"""Hosts that a server allows by its settings, and how it counts requests of other sites."""

import logging
from pathlib import Path
from typing import Any

import pytest

from convoy.service.security.tokens import Token
from tests.harness.calls import INFER, check_error, classes, infer_body
from tests.harness.http import ask
from tests.harness.server import Serve

EVIL = {"host": "evil.example"}


@pytest.fixture
def tokens(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The settings of a server with tokens, of which any admits nobody here."""
    file: Path = tmp_path_factory.mktemp("tokens") / "tokens"
    file.touch(mode=0o600)
    file.write_text(Token.make("somebody", ["infer"])[0].line)
    return {"token_file": str(file)}


@pytest.mark.parametrize("named", [[], ["models.example"]])
async def test_without_tokens(serve: Serve, named: list[str]) -> None:
    """
    Without tokens a name must be private or allowed.
    """
    async with serve(allowed_hosts=named) as running:
        refused = await ask("POST", running.url + INFER, infer_body(3), EVIL)
        assert "'evil.example'" in check_error(refused, 403, "HOST_NOT_ALLOWED")
        host = {"host": named[0] if named else "convoy:8000"}
        assert classes(await ask("POST", running.url + INFER, infer_body(3), host)) == [3]
        assert running.sample("convoy_rejected_total", model="", reason="HOST_NOT_ALLOWED") == 1


@pytest.mark.parametrize(
    ("named", "status", "reason"),
    [([], 200, None), (["models.example"], 403, "HOST_NOT_ALLOWED")],
)
async def test_with_tokens(
    serve: Serve, tokens: dict[str, str], named: list[str], status: int, reason: str | None
) -> None:
    """
    With tokens any name will do, unless names are given.
    """
    async with serve(**tokens, allowed_hosts=named) as running:
        answer = await ask("GET", f"{running.url}/v2/models/tiny/ready", headers=EVIL)
        assert (answer.status, answer.json().get("reason")) == (status, reason)


async def test_page_of_another_site(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """
    A request of another site's page is counted and logged as a refused call, and does nothing.
    """
    settings: dict[str, Any] = {"model_control_mode": "explicit", "load_model": ["tiny"]}
    headers = {"origin": "http://evil.example", "content-type": "text/plain"}
    caplog.set_level(logging.INFO)
    async with serve(**settings) as running:
        unload = f"{running.url}/v2/repository/models/tiny/unload"
        answer = await ask("POST", unload, b"{}", headers)
        assert "X-Forwarded-Host" in check_error(answer, 403, "ORIGIN_NOT_ALLOWED")
        assert classes(await ask("POST", running.url + INFER, infer_body(3))) == [3]
        labels = {"model": "", "method": "RepositoryModelUnload", "code": "PERMISSION_DENIED"}
        assert running.sample("convoy_requests_total", **labels) == 1
        assert running.sample("convoy_rejected_total", model="", reason="ORIGIN_NOT_ALLOWED") == 1
    (line,) = [record for record in caplog.records if record.getMessage() == "request"]
    assert "another site" in vars(line)["details"]


async def test_what_other_clients_send(serve: Serve) -> None:
    """
    Clients that are no browsers may send JSON as any type: curl's --data and Node's fetch do.
    """
    async with serve() as running:
        for content_type, agent in (
            ("application/x-www-form-urlencoded", "curl/8.5.0"),
            ("text/plain;charset=UTF-8", "node"),
            ("application/octet-stream", "Python/3.11 aiohttp/3.14"),
        ):
            headers = {"content-type": content_type, "user-agent": agent}
            answer = await ask("POST", running.url + INFER, infer_body(3), headers)
            assert classes(answer) == [3]
