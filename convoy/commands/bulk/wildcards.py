"""Wildcards for files on a disk, which hold the names of one folder in memory.

Python's own `glob` leaves out folders that it cannot read, and enters links that lead back again
and again.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import groupby

from convoy.commands.image_files import folders_below


def files_matching(pattern: str) -> Iterator[str]:
    """
    Yield the paths that match *pattern* and are not folders, from each real folder once.

    `**` matches any number of folders, including none. Wildcards do not match hidden names. The
    name of a folder that exists is not a wildcard, such as `photos [2026]`.

    Raises:
        OSError: If a folder cannot be read.
    """
    parts = [part for part in pattern.split("/") if part]
    read = set()
    found = _matching("/" if pattern.startswith("/") else "", parts)
    for folder, paths in groupby(found, os.path.dirname):
        state = os.stat(folder or ".")
        if (state.st_dev, state.st_ino) not in read:
            yield from (path for path in paths if not os.path.isdir(path))
        read.add((state.st_dev, state.st_ino))


def _matching(prefix: str, parts: Sequence[str]) -> Iterator[str]:
    """Yield the paths that begin with *prefix*, empty or a folder with a slash, and then match."""
    first, *rest = parts
    if first == "**":
        for folder in folders_below(prefix or "."):
            inner = os.path.join(folder, "")
            yield from _matching(inner if prefix else inner.removeprefix("./"), rest or ["*"])
        return
    is_named = rest and os.path.isdir(prefix + first)
    for name in [first] if is_named else _names(prefix, first):
        path = prefix + name
        if not rest:
            yield path
        elif os.path.isdir(path):
            yield from _matching(f"{path}/", rest)


def _names(prefix: str, part: str) -> list[str]:
    if not glob.has_magic(part):
        return [part] if os.path.lexists(prefix + part) else []
    names = (n for n in os.listdir(prefix or ".") if part.startswith(".") or n[:1] != ".")
    return [name for name in names if fnmatchcase(name, part)]
