"""A process that has no file descriptor left."""

from __future__ import annotations

import errno
import os

import pytest


def no_blob(patch: pytest.MonkeyPatch) -> None:
    """Let the memory of every blob fail, as without a free descriptor; arenas have theirs."""
    make = os.memfd_create

    def fail(name: str) -> int:
        if name == "convoy-blob":
            raise OSError(errno.EMFILE, "Too many open files")
        return make(name)

    patch.setattr(os, "memfd_create", fail)
