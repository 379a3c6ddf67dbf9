"""The page's cost and its screenshots: `python -m bench.page_cost`; prints JSON.

Needs Debian's chromium. The screenshots need a repository with several networks; the live view is
taken after some load.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from rich.progress import track

from tests.harness.server_process import ServerProcess
from tools.observation import Load

ROUNDS = 9
WATCH_S = 60.0
"""Time over which the processor time of the server is measured."""

VIEWERS = (0, 1, 10)
DESKTOP, PHONE = (1440, 900), (375, 812)


def main() -> None:
    """Measure and print; with --docs, take the screenshots."""
    parser = argparse.ArgumentParser(prog="python -m bench.page_cost", description=__doc__)
    parser.add_argument(
        "--model-repository", type=Path, default=Path("tests/data/model_repository")
    )
    parser.add_argument("--comparison-file", default="")
    parser.add_argument("--docs", type=Path, help="Folder for screenshots, in place of measuring.")
    parser.add_argument("--seconds", type=float, default=WATCH_S)
    arguments = parser.parse_args()
    options = ("--comparison-file", arguments.comparison_file) if arguments.comparison_file else ()
    with ExitStack() as stack:
        server = stack.enter_context(ServerProcess(arguments.model_repository, *options))
        url = f"http://127.0.0.1:{server.find('ready')[0]['http_port']}/"
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        if arguments.docs:
            with Load(server.address, threads=4, pause_s=0.03):
                for _ in track(range(round(arguments.seconds)), "loading"):
                    time.sleep(1)
                _take_screenshots(browser, url, arguments.docs)
        else:
            print(json.dumps(_measure(browser, url, server, arguments.seconds), indent=2))
        browser.close()


def _measure(
    browser: Browser, url: str, server: ServerProcess, seconds: float
) -> dict[str, object]:
    views = [_first_view(browser, url) for _ in range(ROUNDS)]
    times = [view["ms"] for view in views]
    return {
        "first_view_bytes": views[0]["bytes"],
        "first_view_ms": {"median": statistics.median(times), "max": max(times)},
        "server_cpu_percent_by_viewers": {
            viewers: _server_cpu(browser, f"{url}#live", server, viewers, seconds)
            for viewers in VIEWERS
        },
    }


def _first_view(browser: Browser, url: str) -> dict[str, int]:
    """Return the bytes on the wire and the time to the answers' cards, with an empty cache."""
    context = browser.new_context()  # a new context has an empty cache
    page = context.new_page()
    page.goto(url)
    page.locator(".answer").first.wait_for()
    ms = page.evaluate("performance.now()")
    sizes = page.evaluate(
        "['navigation', 'resource'].flatMap((kind) => performance.getEntriesByType(kind))"
        ".map((entry) => entry.transferSize)"
    )
    context.close()
    return {"bytes": sum(sizes), "ms": round(ms)}


def _server_cpu(
    browser: Browser, url: str, server: ServerProcess, viewers: int, seconds: float
) -> float:
    """Return the server's CPU with *viewers* live views open, in % of one core."""
    contexts = [browser.new_context() for _ in range(viewers)]
    for context in contexts:
        page = context.new_page()
        page.goto(url)
        page.locator(".tiles").wait_for()
    process = psutil.Process(server.process.pid)
    before, started = sum(process.cpu_times()[:2]), time.monotonic()
    time.sleep(seconds)
    spent = sum(process.cpu_times()[:2]) - before
    elapsed = time.monotonic() - started
    for context in contexts:
        context.close()
    return round(100 * spent / elapsed, 2)


def _take_screenshots(browser: Browser, url: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for view in ("try", "live", "compare", "models"):
        _shoot(browser, f"{url}#{view}", folder / f"{view}.png", DESKTOP, dark=False)
    _shoot(browser, f"{url}#try", folder / "try-phone.png", PHONE, dark=True)


def _shoot(browser: Browser, url: str, file: Path, size: tuple[int, int], *, dark: bool) -> None:
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
    )
    page = context.new_page()
    page.goto(url)
    _prepare(page, url.partition("#")[2])
    page.wait_for_timeout(1000)
    page.screenshot(path=file)
    context.close()
    with Image.open(file) as image:
        image.convert("RGB").save(file, optimize=True)
    print(file)


def _prepare(page: Page, view: str) -> None:
    """Bring a view into the state of its screenshot."""
    page.locator("#view > div > *").first.wait_for()
    if view == "try":
        page.locator("button.sample").first.click()
        page.locator(".answer .timing").first.wait_for()
        page.wait_for_load_state("networkidle")
    if view == "models":
        page.get_by_role("article", name="lenet5").locator("summary").click()
        page.get_by_role("article", name="lenet5").scroll_into_view_if_needed()


if __name__ == "__main__":
    main()
