"""The code of README and of the documentation runs as it is printed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.harness.snippets import PROGRAMS, ROOT, Reader, matches, read

PAGES = sorted(
    [
        *(ROOT / "docs").rglob("*.md"),
        *(
            ROOT / name
            for name in (
                "README.md",
                "SECURITY.md",
                "examples/README.md",
                "tests/conformance/README.md",
            )
        ),
    ]
)
SNIPPETS = {str(page.relative_to(ROOT)): read(page) for page in PAGES}
RUN = [
    name
    for name, found in SNIPPETS.items()
    if any(one.runs and "slow" not in one.marks for one in found)
]
SLOW = [name for name, found in SNIPPETS.items() if any("slow" in one.marks for one in found)]

needs_tools = pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("openssl")),
    reason="needs curl and openssl: make tools",
)


def run(page: str, folder: Path, *, slow: bool) -> None:
    """Run the programs of a page in their order."""
    with Reader(folder) as reader:
        for snippet in SNIPPETS[page]:
            if snippet.runs and (slow or "slow" not in snippet.marks):
                try:
                    reader.run(snippet)
                except AssertionError as error:
                    pytest.fail(f"{page}:{snippet.line}\n{snippet.code}\n{error}", pytrace=False)


@needs_tools
@pytest.mark.timeout(400)
@pytest.mark.parametrize("page", RUN)
def test_runs(page: str, tmp_path: Path) -> None:
    """Each program of a page runs, in a checkout with a server, and prints what the page shows."""
    run(page, tmp_path, slow=False)


@needs_tools
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", SLOW)
def test_runs_with_training(page: str, tmp_path: Path) -> None:
    """The same holds for pages with programs that take longer than a few seconds."""
    run(page, tmp_path, slow=True)


def test_reasons_are_given() -> None:
    """Each program that does not run has a reason."""
    for page, found in SNIPPETS.items():
        for snippet in found:
            assert len(snippet.marks.get("not run", "a reason")) > 5, f"{page}:{snippet.line}"


def test_most_programs_run() -> None:
    """Marks are the exception."""
    programs = [one for found in SNIPPETS.values() for one in found if one.language in PROGRAMS]
    assert sum(one.runs for one in programs) > len(programs) / 2


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ('{"label": "7", "probability": 0.9}', '{"label":"7","probability":0.99751091}', True),
        ('{"label": "7", "probability": 0.9}', '{"label":"8","probability":0.99751091}', False),
        ('{"decode_us": 210, "batch_size": 1}', '{"decode_us":12,"batch_size":1}', True),
        ('{"decode_us": 210, "batch_size": 1}', '{"decode_us":12,"batch_size":2}', False),
        ("one ... three", "one two three", True),
        ("one ... three", "one two", False),
    ],
)
def test_output_is_compared(shown: str, printed: str, same: bool) -> None:
    """Values that vary from run to run may differ from those of a page, and nothing else."""
    assert matches(shown, printed) is same


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("    convoy serve\n", "indented block"),
        ("```\nconvoy serve\n```\n", "unknown language"),
        ("<!-- slow -->\n\nText.\n", "no block follows"),
        ('```text title="Output"\n7\n```\n', "follows no program"),
    ],
)
def test_block_that_cannot_be_run_is_refused(text: str, error: str, tmp_path: Path) -> None:
    """A block that neither runs nor is marked is an error."""
    (tmp_path / "page.md").write_text(text)
    with pytest.raises(ValueError, match=error):
        read(tmp_path / "page.md")
