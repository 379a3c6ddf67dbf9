"""Warnings about files of secrets that other users of the machine may change or read."""

from __future__ import annotations

import logging
import stat
from collections.abc import Iterable
from pathlib import Path

logger = logging.getLogger(__name__)

_WRITABLE = stat.S_IWGRP | stat.S_IWOTH


def warn_of_access(files: Iterable[Path]) -> None:
    """Warn of each of *files* that others may change, or all users may read."""
    for file in files:
        mode = file.stat().st_mode
        named = {"file": str(file), "mode": f"{stat.S_IMODE(mode):04o}"}
        if mode & _WRITABLE:
            logger.warning("other users can change this file: run chmod 600", extra=named)
        # A group that may read is the usual way to share a secret, as Kubernetes does.
        elif mode & stat.S_IROTH:
            logger.warning("all users can read this file: run chmod 600", extra=named)
