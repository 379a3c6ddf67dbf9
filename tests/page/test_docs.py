"""The page /docs: the description of the HTTP routes, without any other server."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.page.conftest import OpenPage


def test_docs(open_page: OpenPage, url: str) -> None:
    """
    The page lists the routes, and tries one of them.
    """
    with open_page(f"{url}docs") as page:
        expect(page.get_by_role("heading", name="Classification")).to_be_visible()
        route = page.locator(".opblock", has_text="/v1/models").first
        route.locator("button").first.click()
        route.get_by_role("button", name="Try it out").click()
        route.get_by_role("button", name="Execute").click()
        expect(route.locator(".live-responses-table")).to_contain_text('"name": "lenet5"')


def test_docs_without_its_library(open_page: OpenPage, url: str) -> None:
    """
    Without Swagger UI the page names the command that installs it, and the description itself.
    """
    with open_page(url, may_fail=True) as page:
        page.route("**/node_modules/**", lambda route: route.fulfill(status=404))
        page.goto(f"{url}docs")
        expect(page.locator("main")).to_contain_text("make page")
        page.get_by_role("link", name="openapi.json").click()
        expect(page.locator("body")).to_contain_text('"openapi":"3.1.0"')
