"""A real browser before a real server: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import urljoin

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from convoy.artifact.manifest import OutputTensor
from convoy.service.http.page import WEB
from tests.harness import tiny
from tests.harness.lenet import LENET_REPOSITORY
from tests.harness.server_process import ServerProcess

CHROMIUM = shutil.which("chromium")
AXE = Path(__file__).parents[2] / "build/axe"

NETWORK_ERROR = "Failed to load resource"
"""First words of Chromium's console about an answer that is an error or never arrived."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """They take a minute, and need Chromium and npm."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)
            if not CHROMIUM or not shutil.which("npm"):
                item.add_marker(pytest.mark.skip(reason="needs chromium and npm: make tools"))


def install(folder: Path) -> None:
    """Install what a lock file names, once, and again after it has changed."""
    installed = folder / "node_modules/.package-lock.json"
    if not installed.is_file() or _versions(installed) != _versions(folder / "package-lock.json"):
        subprocess.run(["npm", "ci", "--silent"], cwd=folder, check=True, timeout=300)


def _versions(lock: Path) -> dict[str, str]:
    packages = json.loads(lock.read_text(encoding="utf-8"))["packages"]
    return {name: package["version"] for name, package in packages.items() if name}


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe-core."""
    AXE.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(Path(__file__).parent / name, AXE)
    install(AXE)
    return (AXE / "node_modules/axe-core/axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LeNet-5, a tiny network, one without probabilities, and one that cannot be loaded."""
    root = tmp_path_factory.mktemp("models")
    shutil.copytree(LENET_REPOSITORY / "lenet5", root / "lenet5")
    tiny.write(root)
    tiny.write(
        root,
        "raw",
        model=tiny.graph(scores={77: [math.nan, *[0.0] * 4]}),
        outputs=(OutputTensor(name="logits", kind="logits"),),
    )
    tiny.write(root, "broken")
    (root / "broken/1/model.onnx").write_bytes(b"nothing")
    return root


@pytest.fixture(scope="session")
def server(repository: Path) -> Iterator[ServerProcess]:
    """A server for all tests that do not change it."""
    install(WEB)
    with ServerProcess(repository, "--model-control-mode", "poll") as server:
        yield server


@pytest.fixture(scope="session")
def url(server: ServerProcess) -> str:
    """Address of its page."""
    return url_of(server)


def url_of(server: ServerProcess) -> str:
    """Address of a server's page."""
    return f"http://127.0.0.1:{server.find('ready')[0]['http_port']}/"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """
    Chromium, without a window.

    Playwright's event loop counts as running for as long as it is there: it must end before
    tests of other modules want their own.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def is_chromium(browser: Browser) -> bool:
    """Return whether *browser* is Chromium."""
    return browser.browser_type.name == "chromium"


OpenPage = Callable[..., AbstractContextManager[Page]]


@pytest.fixture
def open_page(browser: Browser) -> OpenPage:
    """
    Open a page, and prove when it is closed that it behaved.

    It wrote no error to the console, asked no other origin, and broke no policy; with
    `may_fail=True` answers may be errors.
    """

    @contextmanager
    def opened(
        address: str, *, width: int = 1440, dark: bool = False, may_fail: bool = False
    ) -> Iterator[Page]:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            # Firefox lets a page write there only, and needs no permission for it.
            permissions=["clipboard-read", "clipboard-write"] if is_chromium(browser) else [],
        )
        page = context.new_page()
        page.set_default_timeout(15_000)
        errors: list[str] = []
        asked: list[str] = []
        page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        yield page
        context.close()
        if may_fail:
            errors = [error for error in errors if not error.startswith(NETWORK_ERROR)]
        assert errors == []
        origin = urljoin(address, "/")
        assert [at for at in asked if not at.startswith((origin, f"blob:{origin}"))] == []

    return opened
