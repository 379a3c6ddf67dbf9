"""Defaults of the client and of the commands that use it."""

from __future__ import annotations

ADDRESS = "localhost:8001"
TIMEOUT_S = 30.0
