"""The table of rights is complete, and published in docs/reference/access.md."""

from __future__ import annotations

from pathlib import Path

from convoy.service.security.access import NEEDED
from tests.security.entries import http_routes, rpcs, table


def test_no_method_is_forgotten() -> None:
    """Every rpc and every route is in the table of rights, and the table has nothing else."""
    entries = {rpc.method for rpc in rpcs()} | {route.method for route in http_routes()}
    assert entries == set(NEEDED)


def test_published() -> None:
    """The page of access rights holds the table: `python -m tests.security.entries` prints it."""
    assert table() in Path("docs/reference/access.md").read_text("utf-8")
