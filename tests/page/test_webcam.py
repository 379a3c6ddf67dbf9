"""The webcam: a picture of it is classified, and why there is none is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.page.conftest import CHROMIUM, OpenPage

TRACKS = """() => {
    const before = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (wanted) => {
        const stream = await before(wanted);
        window.tracks = stream.getTracks();
        return stream;
    };
}"""
"""Keeps the tracks that the page gets."""


@pytest.fixture(scope="module")
def browser(browser: Browser) -> Iterator[Browser]:
    """Chromium with a camera that shows a test picture."""
    arguments = ["--no-sandbox", "--use-fake-device-for-media-stream"]
    own = browser.browser_type.launch(executable_path=CHROMIUM, args=arguments)
    yield own
    own.close()


def test_picture(open_page: OpenPage, url: str, axe: str) -> None:
    """
    The camera is asked for by a click only; a picture of it is classified, and it is released.
    """
    with open_page(url) as page:
        page.context.grant_permissions(["camera"])
        page.evaluate(TRACKS)
        page.get_by_role("button", name="Webcam").click()
        take = page.get_by_role("button", name="Take the picture")
        expect(take).to_be_focused()
        page.evaluate(axe)
        found = page.evaluate("axe.run('dialog.webcam')")
        assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []
        take.click()
        expect(page.locator(".answer .timing")).to_have_count(3)
        expect(page.locator(".snippets")).to_contain_text("webcam.jpg")
        width, height = page.locator("canvas.picture").evaluate(
            "({width, height}) => [width, height]"
        )
        assert width >= 320
        assert height >= 240
        assert page.evaluate("tracks.map(({readyState}) => readyState)") == ["ended"]
        expect(page.locator("dialog.webcam")).to_have_count(0)


def test_cancelled(open_page: OpenPage, url: str) -> None:
    """
    A dialog that is closed, by a key or with its view, releases the camera.
    """
    with open_page(url) as page:
        page.context.grant_permissions(["camera"])
        page.evaluate(TRACKS)
        for leave in ("Escape", "view"):
            page.get_by_role("button", name="Webcam").click()
            expect(page.get_by_role("button", name="Take the picture")).to_be_focused()
            if leave == "Escape":
                page.keyboard.press("Escape")
            else:
                page.evaluate("location.hash = '#models'")
            expect(page.locator("dialog.webcam")).to_have_count(0)
            assert page.evaluate("tracks.map(({readyState}) => readyState)") == ["ended"]


def test_refused(open_page: OpenPage, url: str) -> None:
    """
    Without the permission, the page says who has to give it.
    """
    with open_page(url) as page:
        page.get_by_role("button", name="Webcam").click()
        problem = page.locator("dialog.webcam .problem")
        expect(problem).to_contain_text("The browser does not allow the camera")
        expect(problem).to_contain_text("Allow the camera for this address")
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("dialog.webcam")).to_have_count(0)


def test_plain_http(open_page: OpenPage, url: str) -> None:
    """
    A page that came over plain HTTP from another machine says that it needs HTTPS.
    """
    with open_page(url) as page:
        page.evaluate("Object.defineProperty(navigator, 'mediaDevices', {value: undefined})")
        page.get_by_role("button", name="Webcam").click()
        expect(page.locator("dialog.webcam .problem")).to_contain_text("only over HTTPS")


class TestWithoutACamera:
    """A computer that has none."""

    @pytest.fixture
    def browser(self, browser: Browser) -> Iterator[Browser]:
        """Chromium without a camera."""
        arguments = ["--no-sandbox", "--use-fake-device-for-media-stream=device-count=0"]
        own = browser.browser_type.launch(executable_path=CHROMIUM, args=arguments)
        yield own
        own.close()

    def test_no_camera(self, open_page: OpenPage, url: str) -> None:
        """
        The page says so.
        """
        with open_page(url) as page:
            page.context.grant_permissions(["camera"])
            page.get_by_role("button", name="Webcam").click()
            expect(page.locator("dialog.webcam .problem")).to_contain_text("There is no camera")
