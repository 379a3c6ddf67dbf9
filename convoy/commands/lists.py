"""Settings that are lists: on the command line their parts are separated by commas."""

from __future__ import annotations

from typing import Any


def parts(value: Any) -> Any:
    """Cut a text at its commas; whatever else it is, pydantic will judge."""
    return value.split(",") if isinstance(value, str) else value
