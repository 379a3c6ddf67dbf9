"""The page's cost and its screenshots: `python -m bench.page_cost`; prints JSON.

Needs Debian's chromium. The screenshots need a repository with several networks that classify the
images of --data; the live view is taken after some load.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from rich.progress import track

from convoy.export import data
from tests.harness.server_process import ServerProcess
from tools.observation import Load

ROUNDS = 9
WATCH_S = 60.0
"""Time over which the processor time of the server is measured."""

VIEWERS = (0, 1, 10)
DESKTOP, TALL, PHONE = (1440, 900), (1440, 1500), (375, 812)

EXPLAINED = ("lenet5", "plain20")
"""A network without class activation maps, and one that has them; their answers are in one row."""

OPENED_IN = {"why": "try", "graph": "models"}
"""The views that have these as parts."""

IMAGES = 300
"""Approximate number of images in the view Images."""

WAIT_MS = 120_000
"""Longest wait for networks that classify them, in milliseconds."""


def main() -> None:
    """Measure and print; with --docs, take the screenshots."""
    parser = argparse.ArgumentParser(prog="python -m bench.page_cost", description=__doc__)
    parser.add_argument(
        "--model-repository", type=Path, default=Path("tests/data/model_repository")
    )
    parser.add_argument("--comparison-file", default="")
    parser.add_argument("--data", default="hard5k", help="Show these images in the view Images.")
    parser.add_argument(
        "--docs", type=Path, help="Write screenshots to this folder, and do not measure."
    )
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
                with tempfile.TemporaryDirectory() as place:
                    images = _write_images(data.load(arguments.data), Path(place))
                    _take_screenshots(browser, url, arguments.docs, images)
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


def _write_images(found: data.DataSet, place: Path) -> Path:
    """Write some test images into a folder for each class; return the folder of these."""
    root = place / "images"
    step = max(1, len(found.test) // IMAGES)  # they lie class by class
    for index in range(0, len(found.test), step):
        folder = root / found.labels[found.test.labels[index]]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{index:04}.png").write_bytes(found.test.image(index))
    return root


def _take_screenshots(browser: Browser, url: str, folder: Path, images: Path) -> None:
    """Take the screenshots of docs/how-to/page.md; *images* has a folder for each class."""
    folder.mkdir(parents=True, exist_ok=True)

    def shoot(name: str, size: tuple[int, int] = DESKTOP, *, dark: bool = False) -> None:
        width, height = size
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        view = name.partition("-")[0]
        page.goto(f"{url}#{OPENED_IN.get(view, view)}")
        _prepare(page, view, images)
        page.wait_for_timeout(1000)
        file = folder / f"{name}.png"
        page.screenshot(path=file)
        context.close()
        with Image.open(file) as image:
            image.convert("RGB").save(file, optimize=True)
        print(file)

    for view in ("try", "why", "live", "compare", "models", "graph"):
        shoot(view)
    shoot("images", TALL)  # with the gallery
    shoot("try-phone", PHONE, dark=True)
    shoot("images-phone", PHONE, dark=True)


def _prepare(page: Page, view: str, images: Path) -> None:
    """Bring a view into the state of its screenshot."""
    page.locator("#view > div > *").first.wait_for()
    if view in ("try", "why"):
        page.locator("button.sample").first.click()
        page.locator(".answer .timing").first.wait_for()
        page.wait_for_load_state("networkidle")
        page.evaluate("scrollTo(0, 0)")
    if view == "why":
        cards = [page.locator(".answer").filter(has_text=name).first for name in EXPLAINED]
        for card in cards:
            card.get_by_role("button", name="Why?").click()
            card.locator("canvas.heat").wait_for()
        cards[0].evaluate("card => card.scrollIntoView({block: 'center'})")
    if view == "images":
        page.locator("input[webkitdirectory]").set_input_files(images)
        page.locator(".evaluation .confusion").wait_for()
        page.locator(".progress button").first.wait_for(state="hidden")
    if view in ("models", "graph"):
        model = page.get_by_role("article", name="lenet5").first
        model.locator("summary", has_text="Layers").click()
        model.scroll_into_view_if_needed()
    if view == "graph":
        page.get_by_role("button", name="Show the graph").click()
        page.locator(".graph-window svg").scroll_into_view_if_needed()


if __name__ == "__main__":
    main()
