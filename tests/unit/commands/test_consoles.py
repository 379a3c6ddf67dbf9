"""Names of files and data sets are printed as they are."""

import ast
from pathlib import Path

from rich.console import Console

from convoy.commands.measurement.progress import progress_bar

ROOT = Path(__file__).parents[3]


def test_no_console_replaces_names_by_emoji() -> None:
    """
    Every console of a command or a program here prints `:cat:` as it is.
    """
    folders = [ROOT / name for name in ("convoy", "export", "tools", "bench")]
    calls = [
        (f"{path.relative_to(ROOT)}:{node.lineno}", node)
        for folder in folders
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Console")
    ]
    assert calls
    assert [place for place, node in calls if not _prints_as_is(node)] == []


def _prints_as_is(call: ast.Call) -> bool:
    return any(ast.unparse(keyword) == "emoji=False" for keyword in call.keywords)


def test_bar_shows_names_as_they_are() -> None:
    """
    The turn of a measurement is no markup.
    """
    console = Console(emoji=False, force_terminal=True, record=True, width=100)
    with progress_bar(console) as show:
        show("[red]:cat:", 0, 2)
    assert "[red]:cat:" in console.export_text()
