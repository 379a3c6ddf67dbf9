"""
The page in Firefox: Debian's, driven by Playwright over WebDriver BiDi.

The tests that are imported run in Chromium as well; here, they get this browser. BiDi cannot choose
a folder, read the clipboard, or give files to an event of pasting.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.harness.images import png
from tests.page.conftest import OpenPage
from tests.page.test_crop import test_by_keyboard, test_by_pointer
from tests.page.test_try import give, test_undo
from tests.page.test_views import test_live

__all__ = ["test_by_keyboard", "test_by_pointer", "test_live", "test_undo"]

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")

pytestmark = pytest.mark.skipif(not FIREFOX, reason="needs firefox-esr: make tools")

CAMERA: dict[str, str | float | bool] = {
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
}
"""A camera that shows a test picture, and that nobody is asked about."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Firefox, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.firefox.launch(
            executable_path=FIREFOX, channel="moz-firefox", firefox_user_prefs=CAMERA
        )
        yield browser
        browser.close()


def test_webcam(open_page: OpenPage, url: str) -> None:
    """
    A picture of the camera is classified.
    """
    with open_page(url) as page:
        page.get_by_role("button", name="Webcam").click()
        page.get_by_role("button", name="Take the picture").click()
        expect(page.locator(".answer .timing")).to_have_count(3)
        expect(page.locator(".snippets")).to_contain_text("webcam.jpg")


@pytest.mark.parametrize("width", [375, 768, 1440])
def test_layout(open_page: OpenPage, url: str, width: int) -> None:
    """
    All networks answer, and no view is wider than the window.
    """
    with open_page(url, width=width) as page:
        give(page, "drop", png(3))
        expect(page.locator(".answer .timing")).to_have_count(3)
        for view in ("try", "images", "live", "compare", "models"):
            page.goto(f"{url}#{view}")
            page.locator("#view > div > :visible").first.wait_for()
            page.wait_for_timeout(300)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, view
