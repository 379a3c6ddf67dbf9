"""The documentation site, opened from a file system."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.harness.site import build


def test_search_without_a_network(browser: Browser, tmp_path: Path) -> None:
    """
    A page finds others by their words, and requests nothing but files.
    """
    site = build(tmp_path)
    requests: list[str] = []
    page = browser.new_page()
    page.on("request", lambda request: requests.append(request.url))
    page.goto((site / "how-to/serve.html").as_uri())
    page.get_by_role("textbox", name="Search").fill("golden drift")
    expect(page.locator(".md-search-result__list")).to_contain_text("Respond to alerts")
    page.close()
    assert {url.split(":")[0] for url in requests} <= {"file", "data", "blob"}
