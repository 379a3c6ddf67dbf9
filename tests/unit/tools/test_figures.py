"""The figures of the documentation are those of the data beside it."""

import importlib.metadata
import re
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from convoy.figures import style
from tests.harness import drawn
from tools.figures import DOCS, SOURCES, figures

IMAGES = DOCS / "images"
PINNED = re.search(r"^matplotlib==(\S+)", Path("constraints.txt").read_text(), flags=re.MULTILINE)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Figure, str]]:
    """Each figure and its SVG, saved before anything else: drawing a figure twice moves it."""
    path, found = tmp_path_factory.mktemp("figures") / "now.svg", {}
    for name, figure in figures().items():
        style.save(figure, path)
        found[name] = figure, path.read_text()
    return found


@pytest.fixture(scope="module")
def made(saved: dict[str, tuple[Figure, str]]) -> dict[str, Figure]:
    return {name: figure for name, (figure, _) in saved.items()}


def test_all_are_of_committed_data(made: dict[str, Figure]) -> None:
    """
    Each picture beside the pages is drawn by the command, and each of its figures is there.
    """
    committed = {
        path.relative_to(IMAGES).as_posix() for path in IMAGES.rglob("*") if path.is_file()
    }
    assert committed == {f"{name}.svg" for name in made}


def test_are_readable(made: dict[str, Figure]) -> None:
    """
    In no figure a text covers another one, leaves the figure or is small; colours are the table's.
    """
    for name, figure in made.items():
        assert drawn.faults(figure) == [], name
        assert drawn.strange_colors((IMAGES / f"{name}.svg").read_text()) == set(), name


def test_are_up_to_date(saved: dict[str, tuple[Figure, str]]) -> None:
    """
    Each committed file is what the command draws, byte for byte with the same matplotlib.
    """
    assert PINNED
    is_pinned = importlib.metadata.version("matplotlib") == PINNED[1]
    for name, (_, now) in saved.items():
        before = (IMAGES / f"{name}.svg").read_text()
        if is_pinned:
            assert now == before, f"python -m tools.figures draws {name} anew"
        assert _words(now) == _words(before), name


def test_documentation_names_each_source() -> None:
    """
    The page says which command made each file of data.
    """
    text = (DOCS / "benchmarks.md").read_text()
    assert [name for name in SOURCES if f"`{name}`" not in text] == []


def _words(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)", svg)
