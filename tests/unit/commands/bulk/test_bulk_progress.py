"""The progress of `convoy bulk` on a terminal."""

from __future__ import annotations

from collections import Counter

from rich.console import Console

from convoy.commands.bulk.bulk_progress import BulkProgress, display
from convoy.commands.bulk.labelling import Part


def test_progress_fits_the_terminal() -> None:
    """
    A text that is longer than a line takes several; nothing of it is cut off.
    """
    console = Console(emoji=False, force_terminal=True, record=True, width=60)
    with display(console) as show:
        progress = BulkProgress(2, lambda: 2, show)
        progress.add(Part(Counter({None: 1000, "INVALID_IMAGE": 12}), is_kept=True))
        progress.add(Part(Counter({None: 999, "INPUT_NOT_FOUND": 1234}), is_kept=False))
    shown = " ".join(console.export_text().split())
    for text in ("100 %", "2 workers", "INPUT_NOT_FOUND 1234", "INVALID_IMAGE 12"):
        assert text in shown
