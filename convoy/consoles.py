"""Consoles that print names of files, models and labels as they are."""

from __future__ import annotations

from rich.console import Console


def plain_console(
    *, soft_wrap: bool = False, stderr: bool = False, quiet: bool = False, width: int | None = None
) -> Console:
    """
    Return a console to which no text is markup, an emoji or a thing to highlight.

    Args:
        soft_wrap: Let the terminal break long lines, so that other programs read whole ones.
        quiet: Print nothing.
        width: Width in characters; None takes that of the terminal.
    """
    return Console(
        emoji=False,
        highlight=False,
        markup=False,
        soft_wrap=soft_wrap,
        stderr=stderr,
        quiet=quiet,
        width=width,
    )
