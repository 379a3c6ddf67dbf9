"""A server that asks for tokens: the page does, too, and shows nothing that it may not."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from convoy.service.http.page import WEB
from convoy.service.security.tokens import Right, Token
from tests.harness.lenet import LENET_REPOSITORY
from tests.harness.server_process import ServerProcess
from tests.page.conftest import OpenPage, url_of
from tests.page.test_try import best, give, run

SEVEN = WEB / "samples/seven.png"


@pytest.fixture(scope="module")
def tokens() -> dict[Right, tuple[Token, str]]:
    """One with the right to infer, one with the right to observe."""
    rights: tuple[Right, ...] = ("infer", "observe")
    return {right: Token.make(right, [right]) for right in rights}


@pytest.fixture(scope="module")
def guarded(
    tokens: dict[Right, tuple[Token, str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server that knows them."""
    file = tmp_path_factory.mktemp("tokens") / "tokens"
    file.write_text("\n".join(token.line for token, _ in tokens.values()))
    with ServerProcess(LENET_REPOSITORY, "--token-file", str(file)) as server:
        yield server


def sign_in(page: Page, text: str) -> None:
    """Answer the dialog."""
    expect(page.get_by_role("dialog")).to_be_visible()
    page.get_by_role("textbox", name="Token").fill(text)
    page.get_by_role("button", name="Use token").click()


def test_token_to_infer(
    open_page: OpenPage,
    guarded: ServerProcess,
    tokens: dict[Right, tuple[Token, str]],
    tmp_path: Path,
) -> None:
    """
    A wrong token is asked for again; one to infer is good for Try and its snippets, and no more.
    """
    _, text = tokens["infer"]
    with open_page(url_of(guarded), may_fail=True) as page:
        expect(page.get_by_role("dialog")).to_contain_text("requires a token")
        assert page.locator("#view").inner_text() == ""
        sign_in(page, "wrong")
        expect(page.get_by_role("dialog")).to_contain_text("does not accept this token")
        sign_in(page, text)
        page.locator(".answer").wait_for()
        give(page, "drop", SEVEN.read_bytes())
        expect(page.locator(".answer .timing")).to_be_visible()
        assert best(page, "lenet5") == "7"
        kept = "[sessionStorage.length, localStorage.length, document.cookie]"
        assert page.evaluate(kept) == [1, 0, ""]
        snippet = page.locator(".snippets code").first
        expect(snippet).to_contain_text("Bearer $TOKEN")
        assert text not in page.content()
        page.get_by_role("button", name="Python").click()
        (tmp_path / "given.png").write_bytes(SEVEN.read_bytes())
        told = run([sys.executable, "-c", snippet.inner_text()], tmp_path, TOKEN=text)
        assert told.startswith("7 0.9")
        for view in ("Live", "Compare", "Models"):
            page.get_by_role("link", name=view).click()
            expect(page.locator("#view")).to_contain_text("Your token does not allow this")
            expect(page.locator("#view")).not_to_contain_text("Page")
            expect(page.locator("#view")).not_to_contain_text("lenet5")


def test_token_to_observe(
    open_page: OpenPage, guarded: ServerProcess, tokens: dict[Right, tuple[Token, str]]
) -> None:
    """
    One to observe shows every view and classifies nothing; another one can be given in its place.
    """
    with open_page(f"{url_of(guarded)}#models", may_fail=True) as page:
        sign_in(page, tokens["observe"][1])
        expect(page.get_by_role("article", name="lenet5 version 1")).to_be_visible()
        expect(page.get_by_role("button", name="Unload")).to_have_count(0)  # needs control
        page.locator("summary").click()
        page.locator("table.layers").wait_for()
        page.get_by_role("link", name="Live").click()
        expect(page.locator(".tiles")).to_contain_text("requests/s")
        page.get_by_role("link", name="Compare").click()
        expect(page.locator("tbody tr")).to_have_count(1)
        page.get_by_role("link", name="Try").click()
        page.locator(".answer").wait_for()
        give(page, "drop", SEVEN.read_bytes())
        problem = page.locator(".answers .problem")
        expect(problem).to_contain_text('needs a token with the right "infer"')
        problem.get_by_role("button", name="Use another token").click()
        sign_in(page, tokens["infer"][1])
        expect(page.locator(".answer .bar-text").first).to_have_text(re.compile(r"9\d\.\d %"))


def test_no_token(open_page: OpenPage, guarded: ServerProcess) -> None:
    """
    The page asks for a token, and takes one later.
    """
    with open_page(url_of(guarded), may_fail=True) as page:
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#view")).to_contain_text("Token required")
        page.get_by_role("button", name="Use another token").click()
        expect(page.get_by_role("dialog")).to_be_visible()
