"""Failures, as the page shows them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin

import numpy as np
from PIL import Image
from playwright.sync_api import Page, Route, expect

from convoy import Client, ConvoyError
from convoy.service.http.page import WEB
from tests.harness import tiny
from tests.harness.images import encode, png
from tests.harness.process import free_ports
from tests.harness.server_process import ServerProcess
from tests.page.conftest import OpenPage, url_of
from tests.page.test_try import best, give

SEVEN = WEB / "samples/seven.png"

FOLLOWED_MS = 30_000
"""The page looks every 5 s, and a busy machine is slow."""


def test_wrong_images(open_page: OpenPage, repository: Path) -> None:
    """
    The page names files that are no images, and images that are too large, with the limit.
    """
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    options = ("--model-control-mode", "poll", "--max-image-bytes", "2000")
    with (
        ServerProcess(repository, *options, "--max-message-bytes", "100000") as server,
        open_page(url_of(server), may_fail=True) as page,
    ):
        page.get_by_label("Network").select_option(label="lenet5")
        problem = page.locator(".answers .problem")
        give(page, "drop", b"not an image")
        expect(problem).to_contain_text("cannot read this file")
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.url))
        give(page, "drop", encode(Image.fromarray(noise)))
        expect(problem).to_contain_text("too large")
        expect(problem).to_contain_text("at most 2000. The file was not sent")
        assert [url for url in sent if "/answers" in url] == []
        give(page, "drop", SEVEN.read_bytes())
        expect(page.locator(".answer .timing")).to_be_visible()


def test_one_problem_with_a_file_for_all_networks(open_page: OpenPage, url: str) -> None:
    """
    A file that no network can read is one problem; the next image has all their answers.
    """
    with open_page(url, may_fail=True) as page:
        give(page, "drop", b"not an image")
        expect(page.locator(".problem")).to_have_count(1)
        expect(page.locator(".answers .problem")).to_contain_text("cannot read this file")
        expect(page.locator(".summary")).to_have_text("3 networks failed")
        give(page, "drop", png(3))
        expect(page.locator(".answer .timing")).to_have_count(3)
        expect(page.locator(".problem")).to_have_count(0)


def control(page: Page, verb: str, model: str = "lenet5") -> None:
    """Load or unload a model, past the page."""
    answer = page.request.post(urljoin(page.url, f"v2/repository/models/{model}/{verb}"))
    assert answer.ok, answer.text()


def test_model_that_is_unloaded_and_loaded(open_page: OpenPage, repository: Path) -> None:
    """
    The page follows what the server loads: nobody has to open it anew.
    """
    options = ("--model-control-mode", "explicit", "--load-model", "lenet5")
    with (
        ServerProcess(repository, *options) as server,
        open_page(url_of(server), may_fail=True) as page,
    ):
        give(page, "drop", SEVEN.read_bytes())
        expect(page.locator(".answer .timing")).to_be_visible()
        control(page, "unload")
        expect(page.locator("#view")).to_contain_text("No model is loaded", timeout=FOLLOWED_MS)
        control(page, "load")
        expect(page.locator(".answer .timing")).to_be_visible(timeout=FOLLOWED_MS)
        assert best(page, "lenet5") == "7"


def test_models_follow_the_server(open_page: OpenPage, repository: Path) -> None:
    """
    Models shows what is loaded and unloaded elsewhere; the other cards keep what is open in them.
    """
    options = ("--model-control-mode", "explicit", "--load-model", "lenet5", "--load-model", "tiny")
    with (
        ServerProcess(repository, *options) as server,
        open_page(f"{url_of(server)}#models") as page,
    ):
        badge = page.get_by_role("article", name="tiny version 1").locator(".badge")
        lenet = page.get_by_role("article", name="lenet5 version 1")
        expect(badge).to_have_text("ready")
        lenet.get_by_text("Layers").click()
        expect(lenet.locator("tbody tr").first).to_be_visible()
        control(page, "unload", "tiny")
        expect(badge).not_to_have_text("ready", timeout=FOLLOWED_MS)
        control(page, "load", "tiny")
        expect(badge).to_have_text("ready", timeout=FOLLOWED_MS)
        expect(lenet.locator("tbody tr").first).to_be_visible()
        expect(lenet.locator("summary", has_text="Layers")).to_be_focused()


def test_version_that_is_replaced(open_page: OpenPage, tmp_path: Path) -> None:
    """
    A new version takes the place of the one that was chosen, and the image is classified again.
    """
    tiny.write(tmp_path)
    tiny.write(tmp_path, "other")
    options = ("--model-control-mode", "poll", "--repository-poll-s", "0.2")
    with ServerProcess(tmp_path, *options) as server, open_page(url_of(server)) as page:
        page.get_by_label("Network").select_option(label="tiny")
        give(page, "drop", png(3))
        version = page.locator(".answer dl.facts div", has_text="version").locator("dd")
        expect(version).to_have_text("1")
        tiny.write(tmp_path)
        expect(version).to_have_text("2", timeout=FOLLOWED_MS)
        expect(page.locator(".answer")).to_have_count(1)
        assert best(page, "tiny") == "class 3"


def test_sample_without_a_server(open_page: OpenPage, repository: Path) -> None:
    """
    A sample that is chosen while the server is gone shows that, without moving the samples.
    """
    server = ServerProcess(repository, "--model-control-mode", "poll")
    with server, open_page(url_of(server), may_fail=True) as page:
        page.locator(".answer").first.wait_for()
        sample = page.locator("button.sample").first
        top = "(node) => node.getBoundingClientRect().top + scrollY"
        before = sample.evaluate(top)
        server.stop()
        sample.click()
        expect(page.locator(".answers .problem")).to_contain_text("The server does not respond")
        expect(page.locator("#notice")).to_contain_text("does not respond")
        assert sample.evaluate(top) == before


@contextmanager
def flood(address: str) -> Iterator[None]:
    """Keep a model's queue full."""
    stop = threading.Event()

    def ask() -> None:
        with Client(address) as client:
            while not stop.is_set():
                try:
                    client.classify(png(1), model="slow")
                except ConvoyError:
                    stop.wait(0.001)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_full_queue(open_page: OpenPage, tmp_path: Path) -> None:
    """
    The page says that the queue is full and how long to wait, and offers to try again.
    """
    tiny.write(tmp_path, "slow", model=tiny.graph(repeats=200), max_batch_size=1)
    small = ("--max-images-per-call", "1", "--max-queue-size", "1")
    with (
        ServerProcess(tmp_path, *small) as server,
        open_page(url_of(server), may_fail=True) as page,
    ):
        page.locator(".answer").wait_for()
        problem = page.locator(".answer .problem")
        with flood(server.address):
            for _ in range(50):
                give(page, "drop", png(3))
                page.locator(".answer:not([aria-busy])").wait_for()
                if problem.is_visible():
                    break
            expect(problem).to_contain_text("queue")
            expect(problem.get_by_role("button")).to_contain_text("gain")
        problem.get_by_role("button", name="Try again").click()
        expect(page.locator(".answer .timing")).to_be_visible()
        assert best(page, "slow") == "class 3"


def test_states_of_versions_are_followed(open_page: OpenPage, tmp_path: Path) -> None:
    """
    Models shows a version that appears and cannot be loaded, though the models that answer stay.
    """
    repository, elsewhere = tmp_path / "models", tmp_path / "elsewhere"
    tiny.write(repository)
    options = ("--model-control-mode", "poll", "--repository-poll-s", "0.2")
    with (
        ServerProcess(repository, *options) as server,
        open_page(f"{url_of(server)}#models") as page,
    ):
        expect(page.locator(".model")).to_have_count(1)
        tiny.write(elsewhere)
        (elsewhere / "tiny/1/model.onnx").write_bytes(b"nothing")
        (elsewhere / "tiny/1").rename(repository / "tiny/2")
        refused = page.get_by_role("article", name="tiny version 2")
        expect(refused.locator(".badge")).to_have_text("unavailable", timeout=FOLLOWED_MS)
        expect(refused.locator(".reason")).not_to_be_empty()


def test_network_that_is_asked_again(open_page: OpenPage, url: str) -> None:
    """
    The answer of a network that is asked again is in the overview and in the line below the image.
    """

    def fail(route: Route) -> None:
        answer = route.fetch()
        answers = answer.json()["answers"]
        answers[2] = {"error": "full", "reason": "QUEUE_FULL", "status": 429, "retry_after_s": None}
        route.fulfill(response=answer, json={"answers": answers})

    with open_page(url) as page:
        page.locator(".answer").first.wait_for()
        page.route("**/page/answers?*", fail, times=1)
        give(page, "drop", png(3))
        row = page.locator(".overview tbody tr").nth(2)
        expect(row).to_contain_text("failed")
        expect(page.locator(".summary")).to_contain_text("1 network failed")
        page.locator(".answer .problem").get_by_role("button", name="Try again").click()
        expect(page.locator(".answer .timing")).to_have_count(3)
        expect(row).to_contain_text("class 3")
        expect(page.locator(".summary")).not_to_contain_text("failed")


def test_server_that_hangs(open_page: OpenPage, repository: Path) -> None:
    """
    A server that takes connections and does not answer is told to be gone, until it answers.
    """
    with (
        ServerProcess(repository, "--model-control-mode", "poll") as server,
        open_page(url_of(server), may_fail=True) as page,
    ):
        expect(page.locator("#status")).to_have_text("ready")
        server.process.send_signal(signal.SIGSTOP)
        try:
            expect(page.locator("#status")).to_have_text("no response", timeout=FOLLOWED_MS)
        finally:
            server.process.send_signal(signal.SIGCONT)
        expect(page.locator("#status")).to_have_text("ready")


def test_restart(open_page: OpenPage, repository: Path) -> None:
    """
    The page says that the server does not respond; when it is back, the image is classified again.
    """
    http, grpc = map(str, free_ports(2))
    options = ("--model-control-mode", "poll", "--http-port", http, "--grpc-port", grpc)
    server = ServerProcess(repository, *options)
    with server, open_page(url_of(server), may_fail=True) as page:
        page.locator(".answer").first.wait_for()
        give(page, "drop", png(3))
        expect(page.locator(".answer .timing")).to_have_count(3)
        server.stop()
        expect(page.locator("#notice")).to_contain_text("does not respond")
        expect(page.locator("#status")).to_have_text("no response")
        with ServerProcess(repository, *options):
            expect(page.locator("#status")).to_have_text("ready")
            expect(page.locator("#notice")).to_be_hidden()
            expect(page.locator(".answer .timing")).to_have_count(3)
            assert best(page, "tiny") == "class 3"
            page.get_by_role("link", name="Live").click()
            expect(page.locator(".tiles")).to_be_visible()
