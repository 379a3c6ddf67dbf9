"""Crop: a part of the picture, chosen by pointer or by keyboard, is what the networks get."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.harness.images import encode, png
from tests.page.conftest import OpenPage
from tests.page.test_try import drag, give

WIDTH, HEIGHT = 800, 600

PIXEL = 6
"""Pixels of the picture for one of the screen, and some more."""


def quarters() -> bytes:
    """A picture whose quarters are of classes 0 and 1 above, 2 and 3 below."""
    pixels = np.kron(np.array([[10, 11], [12, 13]], np.uint8), np.ones((HEIGHT // 2, WIDTH // 2)))
    return encode(Image.fromarray(pixels.astype(np.uint8)))


def open_picture(page: Page) -> None:
    """Show that picture to the tiny network."""
    page.get_by_label("Network", exact=True).select_option(label="tiny")
    expect(page.get_by_role("button", name="Crop")).to_be_disabled()
    give(page, "drop", quarters())
    expect(page.locator(".summary")).to_contain_text("tiny: class 0")


def place(page: Page) -> list[float]:
    """Left and top of the picture in the document, which the driver may scroll."""
    script = """(node) => {
        const {left, top} = node.getBoundingClientRect();
        return [left + scrollX, top + scrollY];
    }"""
    return list(page.locator("canvas.picture").evaluate(script))


def part(page: Page) -> list[int]:
    """Width, height, left and top of the part, as the page tells them."""
    told = page.locator(".selection").get_attribute("aria-label") or ""
    return list(map(int, re.findall(r"\d+", told)))


def test_late_part(open_page: OpenPage, url: str) -> None:
    """
    A part that is cut out after another image has been given does not hide the answers to that.
    """
    hold = """() => {
        const convert = OffscreenCanvas.prototype.convertToBlob;
        OffscreenCanvas.prototype.convertToBlob = async function (...options) {
            document.body.dataset.cuts = "";
            await new Promise((resolve) => (window.cut = resolve));
            return convert.apply(this, options);
        };
    }"""
    with open_page(url) as page:
        open_picture(page)
        page.evaluate(hold)
        page.get_by_role("button", name="Crop").click()
        page.locator("body[data-cuts]").wait_for()
        give(page, "drop", png(3))
        expect(page.locator(".summary")).to_contain_text("tiny: class 3")
        page.evaluate("window.cut()")
        page.wait_for_timeout(500)
        expect(page.locator(".answer .bars")).to_be_visible()
        expect(page.locator(".answer[aria-busy]")).to_have_count(0)


def test_by_pointer(open_page: OpenPage, url: str) -> None:
    """
    A part is drawn, moved, and enlarged at a corner; each is classified, and the picture stays.
    """
    with open_page(url) as page:
        open_picture(page)
        before = place(page)
        page.get_by_role("button", name="Crop").click()
        assert part(page) == [600, 450, 100, 75]
        drag(page, "canvas.picture", (0.98, 0.02), (0.6, 0.4))
        expect(page.locator(".summary")).to_contain_text("tiny: class 1")
        width, height, left, top = part(page)
        assert (width, height, left, top) == pytest.approx((304, 228, 480, 12), abs=PIXEL)
        drag(page, "canvas.picture", (0.8, 0.2), (0.8, 0.8))
        expect(page.locator(".summary")).to_contain_text("tiny: class 3")
        assert part(page)[:2] == [width, height]
        _, _, left, top = part(page)
        drag(page, "canvas.picture", (left / WIDTH, top / HEIGHT), (0.05, 0.05))
        expect(page.locator(".summary")).to_contain_text("tiny: class 0")
        assert place(page) == before
        page.get_by_role("button", name="Crop", pressed=True).click()
        expect(page.locator(".selection")).to_be_hidden()


def test_by_keyboard(open_page: OpenPage, url: str, axe: str) -> None:
    """
    Arrow keys move the part and change its size; Escape goes back to the whole image.
    """
    with open_page(url) as page:
        open_picture(page)
        page.get_by_role("button", name="Crop").focus()
        page.keyboard.press("Enter")
        expect(page.locator(".selection")).to_be_focused()
        for _ in range(6):
            page.keyboard.press("Shift+ArrowLeft")
            page.keyboard.press("Shift+ArrowUp")
        assert part(page) == [360, 210, 100, 75]
        for key in ["ArrowRight"] * 20 + ["ArrowDown"] * 20:
            page.keyboard.press(key)
        assert part(page) == [360, 210, 440, 390]
        expect(page.locator(".summary")).to_contain_text("tiny: class 3")
        page.evaluate(axe)
        found = page.evaluate("axe.run('.input')")
        assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="Crop")).to_be_focused()
        expect(page.locator(".summary")).to_contain_text("tiny: class 0")


def test_part_is_kept(open_page: OpenPage, url: str) -> None:
    """
    Another network gets the same part, also after another view; a new picture is whole.
    """
    with open_page(url) as page:
        open_picture(page)
        page.get_by_role("button", name="Crop").click()
        drag(page, "canvas.picture", (0.02, 0.98), (0.4, 0.6))
        expect(page.locator(".summary")).to_contain_text("tiny: class 2")
        chosen = part(page)
        page.get_by_label("Network", exact=True).select_option(label="raw")
        expect(page.locator(".summary")).to_contain_text("raw: class 2")
        page.get_by_role("link", name="Models").click()
        page.get_by_role("link", name="Try").click()
        expect(page.locator(".summary")).to_contain_text("raw: class 2")
        assert part(page) == chosen
        give(page, "drop", quarters())
        expect(page.locator(".summary")).to_contain_text("raw: class 0")
        expect(page.locator(".selection")).to_be_hidden()
