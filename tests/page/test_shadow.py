"""A shadow on the page: both versions side by side, with the numbers of the server."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path

from playwright.sync_api import Route, expect

from convoy import Client
from tests.harness import tiny
from tests.harness.images import png
from tests.harness.server_process import ServerProcess
from tests.page.conftest import OpenPage, url_of

FOLLOWED_MS = 30_000
"""The page reads a shadow every 10 s, and a busy machine is slow."""


def post(server: ServerProcess, path: str, body: object) -> None:
    """Send JSON."""
    data = json.dumps(body).encode()
    urllib.request.urlopen(urllib.request.Request(f"{server.url}{path}", data), timeout=30).close()


def compared(server: ServerProcess) -> int:
    """Images that the server has compared."""
    shadow = json.loads(server.get("/v1/models/tiny/shadow"))
    return int(shadow.get("agreement", {}).get("count", 0))


def drop(route: Route) -> None:
    """Answer as the server does, but with images that were dropped."""
    shadow = route.fetch().json()
    assert shadow["dropped_image_count"] == 0
    route.fulfill(json=shadow | {"dropped_image_count": 1234})


def test_shadow(open_page: OpenPage, axe: str, tmp_path: Path) -> None:
    """
    Live has the runs of both versions and their agreement; without a shadow there is no panel.
    """
    tiny.write(tmp_path)
    options = ("--model-control-mode", "explicit", "--load-model", "tiny")
    with ServerProcess(tmp_path, *options) as server, Client(server.address) as client:
        tiny.write(tmp_path, model=tiny.graph(scores={7: [0.0, 0.0, 0.0, 0.0, 10.0]}))
        with open_page(f"{url_of(server)}#live") as page:
            expect(page.locator(".tiles")).to_be_visible()
            expect(page.locator(".shadow")).to_be_hidden()
        post(server, "/v1/models/tiny/shadow/start", {"version": 2, "share": 1.0})
        with open_page(f"{url_of(server)}#live") as page:
            panel = page.locator(".shadow")
            expect(panel).to_contain_text(
                "Version 2 gets 100 % of the requests after version 1", timeout=FOLLOWED_MS
            )
            expect(panel.locator("tr", has_text="same top-1")).to_contain_text("\u2013")
            while compared(server) < 4:
                client.classify(png(3), model="tiny")
            client.classify(png(7), model="tiny")
            agreement = panel.locator("tr", has_text="same top-1")
            expect(agreement).to_contain_text(
                re.compile(r"\d\d\.\d %.*\d+\.\d % \u2013 \d+\.\d %"), timeout=FOLLOWED_MS
            )
            heads = panel.locator("thead").first.locator("th")
            expect(heads).to_have_text(["measure", "version 1, serves", "version 2, shadow"])
            runs = panel.locator("tr", has_text="run, p99").locator("td")
            expect(runs).to_have_text([re.compile(r"[\d.]+ (ms|µs) \(")] * 2)
            page.evaluate(axe)
            found = page.evaluate("axe.run('.shadow')")
            assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []
            page.route("**/v1/models/tiny/shadow", drop)
            expect(panel).to_contain_text(
                "1,234 images were dropped because the device was busy.", timeout=FOLLOWED_MS
            )
            page.unroute("**/v1/models/tiny/shadow")
            post(server, "/v1/models/tiny/shadow/stop", {})
            expect(panel).to_be_hidden(timeout=FOLLOWED_MS)


def test_control_of_a_shadow(open_page: OpenPage, tmp_path: Path) -> None:
    """
    Models starts a version beside the one that serves as a shadow, says why it is not promoted, and
    stops it.
    """
    for _ in range(2):
        tiny.write(tmp_path)
    options = ("--model-control-mode", "explicit", "--load-model", "tiny")
    with (
        ServerProcess(tmp_path, *options) as server,
        open_page(f"{url_of(server)}#models", may_fail=True) as page,
    ):
        first = page.get_by_role("article", name="tiny version 1")
        first.get_by_role("button", name="Shadow on 10 % of requests").click()
        expect(first.locator(".reason")).to_have_text("shadow")
        assert json.loads(server.get("/v1/models/tiny/shadow"))["share"] == 0.1
        first.get_by_role("button", name="Promote version 1").click()
        expect(first.locator(".problem")).to_contain_text("version 1 is not promoted")
        first.get_by_role("button", name="Stop the shadow").click()
        expect(first.get_by_role("button", name="Serve version 1 alone")).to_be_visible()
        second = page.get_by_role("article", name="tiny version 2")
        expect(second.locator(".badge")).to_have_text("ready")


def test_small_share(open_page: OpenPage, url: str) -> None:
    """
    A share of less than a percent is not rounded to none.
    """
    script = """(shadow) => import("./web/shadow-panel.js").then(({ShadowPanel}) => {
        const panel = new ShadowPanel();
        panel.draw(shadow);
        return panel.card.textContent;
    })"""
    shadow = {"version": 2, "serving_version": 1, "share": 0.004, "dropped_image_count": 0}
    with open_page(url) as page:
        assert "Version 2 gets 0.4 % of the requests" in page.evaluate(script, shadow)
