"""The documentation builds into a site that needs no network."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.harness.site import ROOT, build

_EXTERNAL_ASSETS = re.compile(
    r"""(?:<(?:script|img|iframe|source)[^>]*\ssrc=|<link[^>]*\shref=|@import\s+|url\()["']?(https?:)?//""",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a site."""
    return build(tmp_path_factory.mktemp("site"))


def test_every_page_is_in_the_navigation(site: Path) -> None:
    """A page links to each other page, so that none can be found only by its address."""
    pages = {page.relative_to(ROOT / "docs").with_suffix(".html") for page in _sources()}
    home = (site / "index.html").read_text()
    linked = {Path(link) for link in re.findall(r'href="([\w/-]+\.html)"', home)}
    assert pages - {Path("index.html")} <= linked


def test_site_requests_nothing_from_other_hosts(site: Path) -> None:
    """Pages and style sheets load their fonts, scripts and images from the site itself."""
    files = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(files) > 20
    for file in files:
        assert not _EXTERNAL_ASSETS.search(file.read_text()), file


def test_search_works_without_a_server(site: Path) -> None:
    """The search index is a script, and the workers that read it run in pages of a file system."""
    text = (site / "search/search_index.js").read_text()
    index = json.loads(text.removeprefix("var __index = "))
    assert any("golden" in entry["text"] for entry in index["docs"])
    assert "IFrameWorker" in (site / "assets/iframe-worker.js").read_text()
    page = site / "how-to/serve.html"
    (shim,) = re.findall(r'<script src="([^"]*iframe-worker[^"]*)"', page.read_text())
    assert Path(os.path.normpath(page.parent / shim)) == site / "assets/iframe-worker.js"


def _sources() -> list[Path]:
    return [*(ROOT / "docs").rglob("*.md")]
