"""Drift on the page: the indices that the server publishes, and why there are none."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from playwright.sync_api import expect

from convoy import Client
from convoy.artifact.baseline import Baseline, Histogram, write_baseline
from tests.harness import tiny
from tests.harness.images import png
from tests.harness.server_process import ServerProcess
from tests.page.conftest import OpenPage, url_of

FOLLOWED_MS = 30_000
"""The page reads the metrics every 10 s, and a busy machine is slow."""


def counted(server: ServerProcess) -> int:
    """Images whose brightness the server has counted."""
    found = re.findall(
        r'^convoy_drift_images_total{.*signal="brightness".*} (\d+)', server.get("/metrics"), re.M
    )
    return sum(map(int, found))


def test_drift(open_page: OpenPage, axe: str, tmp_path: Path) -> None:
    """
    Live has the index of each signal and window, and says when there are too few images, or none.
    """
    manifest = tiny.write(tmp_path)
    tiny.write(tmp_path, "other")
    baseline = Baseline(
        model_sha256=manifest.model_sha256,
        data="bright and dark images",
        data_sha256="0" * 64,
        images=1000,
        signals={
            "brightness": Histogram(edges=(0.5,), counts=(500, 500)),
            "size": Histogram(edges=(100.0,), counts=(1000, 0)),
        },
        made_at=datetime.now(UTC),
    )
    write_baseline(tmp_path / "tiny/1", baseline)
    images = [png(first) for first in range(8)]  # dark ones alone
    with (
        ServerProcess(tmp_path, "--drift") as server,
        Client(server.address) as client,
        open_page(f"{url_of(server)}#live?model=tiny") as page,
    ):
        panel = page.locator(".drift")
        expect(panel).to_contain_text("No images of tiny have been counted yet")
        client.classify_batch(images, model="tiny")
        told = "8 images counted since it was loaded. A window needs 500 images"
        expect(panel).to_contain_text(told, timeout=FOLLOWED_MS)
        while counted(server) < 500:  # at most 100 of a second are
            client.classify_batch(images, model="tiny")
        rows = panel.locator("tbody tr")
        expect(rows.filter(has_text="brightness").locator("td")).to_have_text(
            [re.compile(r"^\d+\.\d\d large$")] * 2, timeout=FOLLOWED_MS
        )
        expect(rows.filter(has_text="size").locator("td")).to_have_text(["0.00 none"] * 2)
        expect(panel.locator("thead th")).to_have_text(["signal", "last 15m", "last 1d"])
        page.evaluate(axe)
        found = page.evaluate("axe.run('.drift')")
        assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []
        page.get_by_label("Model", exact=True).select_option("other")
        expect(panel).to_contain_text("convoy baseline other --data DATA")


def test_without_drift(open_page: OpenPage, url: str) -> None:
    """
    A server that does not measure drift has no panel for it.
    """
    with open_page(f"{url}#live") as page:
        expect(page.locator(".tiles")).to_be_visible()
        expect(page.locator(".drift")).to_be_hidden()


def test_text_of_metrics(open_page: OpenPage, url: str) -> None:
    """
    Labels are read with whatever is in them.
    """
    script = """(text) => import('./web/metrics.js').then(({parse}) => [...parse(text)])"""
    text = '# HELP a b\n# TYPE a gauge\na{x="q\\"},{\\\\n\\n",y=""} 2.5\n# TYPE b counter\nc 1\n'
    with open_page(url) as page:
        assert page.evaluate(script, text) == [
            ["a", [{"labels": {"x": 'q"},{\\n\n', "y": ""}, "value": 2.5}]],
            ["b", []],
        ]
