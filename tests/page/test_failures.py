"""Failures, as the page shows them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import expect

from convoy import Client, ConvoyError
from convoy.service.http.page import WEB
from tests.harness import tiny
from tests.harness.images import encode, png
from tests.harness.process import free_ports
from tests.harness.server_process import ServerProcess
from tests.page.conftest import OpenPage, url_of
from tests.page.test_try import best, give

SEVEN = WEB / "samples/seven.png"


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
        problem = page.locator(".answer .problem")
        give(page, "drop", b"not an image")
        expect(problem).to_contain_text("cannot read this file")
        give(page, "drop", encode(Image.fromarray(noise[:100])))
        expect(problem).to_contain_text("too large")
        expect(problem).to_contain_text("at most 2000")
        give(page, "drop", encode(Image.fromarray(noise)))
        expect(problem).to_contain_text("more than 100000 bytes")
        give(page, "drop", SEVEN.read_bytes())
        expect(page.locator(".answer .timing")).to_be_visible()


def test_unloaded_model(open_page: OpenPage, repository: Path) -> None:
    """
    The page says so if a model has been unloaded.
    """
    options = ("--model-control-mode", "explicit", "--load-model", "lenet5")
    with (
        ServerProcess(repository, *options) as server,
        open_page(url_of(server), may_fail=True) as page,
    ):
        page.locator(".answer").wait_for()
        page.evaluate("fetch('v2/repository/models/lenet5/unload', {method: 'POST'})")
        give(page, "drop", SEVEN.read_bytes())
        expect(page.locator(".answer .problem")).to_contain_text("The model is not ready yet")
        page.reload()
        expect(page.locator("#view")).to_contain_text("No model is loaded")


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


def test_restart(open_page: OpenPage, repository: Path) -> None:
    """
    The page says that the server does not answer; when it is back, the image is classified again.
    """
    http, grpc = map(str, free_ports(2))
    options = ("--model-control-mode", "poll", "--http-port", http, "--grpc-port", grpc)
    server = ServerProcess(repository, *options)
    with server, open_page(url_of(server), may_fail=True) as page:
        page.locator(".answer").first.wait_for()
        give(page, "drop", png(3))
        expect(page.locator(".answer .timing")).to_have_count(3)
        server.stop()
        expect(page.locator("#notice")).to_contain_text("does not answer")
        expect(page.locator("#status")).to_have_text("no answer")
        with ServerProcess(repository, *options):
            expect(page.locator("#status")).to_have_text("ready")
            expect(page.locator("#notice")).to_be_hidden()
            expect(page.locator(".answer .timing")).to_have_count(3)
            assert best(page, "tiny") == "class 3"
            page.get_by_role("link", name="Live").click()
            expect(page.locator(".tiles")).to_be_visible()
