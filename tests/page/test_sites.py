"""A real browser on a page of another site cannot use the server, and the server's own page can."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.harness import tiny
from tests.harness.server_process import ServerProcess
from tests.page.conftest import CHROMIUM

UNLOAD = "/v2/repository/models/tiny/unload"

SIMPLE = """url => fetch(url, {method: "POST", mode: "no-cors", body: "{}"}).then(a => a.type)"""
"""The requests that a page can send to another site without asking it first."""

FORM = """url => {
  const form = document.createElement("form");
  Object.assign(form, {method: "POST", action: url, enctype: "text/plain"});
  document.body.append(form);
  form.submit();
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for which every name of .example is this machine."""
    rules = "--host-resolver-rules=MAP *.example 127.0.0.1"
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", rules]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page, empty yet."""
    with browser.new_context() as context:
        yield context.new_page()


@pytest.fixture(scope="module")
def other_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of another site, with an empty page."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "index.html").write_text("<!doctype html><title>other</title><body></body>")
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield site.server_address[1]
        site.shutdown()


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server without tokens, whose model may be unloaded by request."""
    folder = tmp_path_factory.mktemp("models")
    tiny.write(folder)
    control = ("--model-control-mode", "explicit", "--load-model", "*")
    with ServerProcess(folder, *control, "--allowed-hosts", "models.example") as server:
        yield server


def port(server: ServerProcess) -> int:
    """Return the server's HTTP port."""
    return int(str(server.find("ready")[0]["http_port"]))


def refusals(server: ServerProcess, reason: str) -> float:
    """Return how many requests the server has refused for this reason."""
    name = f'convoy_rejected_total{{model="",reason="{reason}"}} '
    lines = [line for line in server.get("/metrics").splitlines() if line.startswith(name)]
    return float(lines[0].removeprefix(name)) if lines else 0.0


def test_page_of_another_site(open_server: ServerProcess, other_site: int, page: Page) -> None:
    """Neither a script nor a form of another site unloads a model."""
    for site in (f"http://127.0.0.1:{other_site}/", f"http://evil.example:{other_site}/"):
        for attack in (SIMPLE, FORM):
            before = refusals(open_server, "ORIGIN_NOT_ALLOWED")
            page.goto(site)
            page.evaluate(attack, open_server.url + UNLOAD)
            page.wait_for_load_state("networkidle")
            assert refusals(open_server, "ORIGIN_NOT_ALLOWED") == before + 1
    assert "tiny" in open_server.get("/v2/models")


def test_name_that_leads_here(open_server: ServerProcess, page: Page) -> None:
    """A page whose name becomes the server's address reads nothing and unloads nothing."""
    site = f"http://evil.example:{port(open_server)}"
    page.goto(f"{site}/web/icon.svg")  # any answer will do: its script runs in the site's name
    for path, method in (("/v2/models", "GET"), (UNLOAD, "POST")):
        ask = "([path, method]) => fetch(path, {method}).then(a => a.json())"
        assert page.evaluate(ask, [path, method])["reason"] == "HOST_NOT_ALLOWED"
    assert "tiny" in open_server.get("/v2/models")


def test_own_page(open_server: ServerProcess, page: Page) -> None:
    """The server's own page asks for what it needs, by any name that is allowed."""
    for host in ("127.0.0.1", "localhost", "models.example"):
        page.goto(f"http://{host}:{port(open_server)}/#models")
        page.get_by_label("tiny version 1").wait_for()
