"""Documents wrap at the width that .editorconfig states."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[3]
UNWRAPPED = ("|", "#", "<", "!")
"""First characters of lines that cannot be wrapped: tables, headings, HTML, pictures."""


def test_lines_wrap() -> None:
    """No line of prose is longer than the stated width."""
    (width,) = re.findall(r"^max_line_length = (\d+)$", (ROOT / ".editorconfig").read_text(), re.M)
    long = [
        f"{page.relative_to(ROOT)}:{number}"
        for page in _documents()
        for number, line in _prose(page)
        if len(line) > int(width)
    ]
    assert long == []


def _documents() -> list[Path]:
    folders = [ROOT / name for name in ("docs", "examples", "tests/conformance", "tests/data")]
    found = [page for folder in folders for page in folder.rglob("*.md")]
    return [*ROOT.glob("*.md"), *(page for page in found if "node_modules" not in page.parts)]


def _prose(page: Path) -> list[tuple[int, str]]:
    """Return the lines outside of code blocks that can be wrapped, with their numbers."""
    lines, is_code = [], False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.lstrip().startswith("```"):
            is_code = not is_code
        elif not is_code and not line.startswith(UNWRAPPED):
            lines.append((number, line))
    return lines


def test_readme_is_short() -> None:
    """A new user can read README in a few minutes."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_changelog_has_each_entry_once() -> None:
    """No two entries begin alike, as those that a merge has doubled do."""
    text = (ROOT / "CHANGELOG.md").read_text()
    beginnings = Counter(line[:45] for line in text.splitlines() if line.startswith("* "))
    assert [beginning for beginning, count in beginnings.items() if count > 1] == []
