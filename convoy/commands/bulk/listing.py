"""Listing of the files in a store, one folder at a time.

fsspec's own `glob` and `find` return all files at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from itertools import takewhile
from typing import Any

from fsspec.utils import glob_translate

from convoy.commands.bulk.bulk_error import BulkError
from convoy.stores import reaching

Entry = dict[str, Any]
"""The facts that fsspec states about a file or a folder: `name`, `type`, and `size` in bytes."""

_MAGIC = re.compile(r"[*?[]")

Enters = Callable[[str], bool]
"""A function that returns whether to list the folder of a path."""


def walk(store: Any, root: str, source: str, enters: Enters = lambda _: True) -> Iterator[Entry]:
    """
    Yield the files in *root*, and in the folders below that *enters* accepts.

    Args:
        source: The URL that the user gave, for errors.

    Raises:
        BulkError: If there is no such bucket or folder.
        RepositoryError: If the store cannot be read.
    """
    folders = [root]
    while folders:
        folder = folders.pop()
        for entry in _list(store, folder, source, is_root=folder == root):
            # Some stores have an empty object in place of a folder, and list it in the folder.
            if entry["name"].strip("/") == folder.strip("/"):
                continue
            if entry["type"] == "file":
                yield entry
            elif enters(entry["name"]):
                folders.append(entry["name"])


def matching(store: Any, pattern: str, source: str) -> Iterator[Entry]:
    """
    Yield the files whose path matches *pattern*, without listing folders that cannot hold one.

    Raises:
        BulkError: As `walk`, and for a pattern such as `a**`.
        RepositoryError: As `walk`.
    """
    root = _MAGIC.split(pattern)[0].rpartition("/")[0]
    # The paths of some stores begin with a slash.
    parts = pattern.strip("/").split("/")
    named = list(takewhile(lambda part: part != "**", parts))

    def enters(folder: str) -> bool:
        names = folder.strip("/").split("/")
        # Below `**`, a folder may have any name, at any depth.
        has_room = len(names) < len(parts) or "**" in parts
        return has_room and all(map(fnmatchcase, names, named))

    try:
        matches = re.compile(glob_translate(pattern.strip("/"))).match
    except ValueError as error:
        raise BulkError(f"{source}: {error}") from error
    for entry in walk(store, root, source, enters):
        if matches(entry["name"].strip("/")):
            yield entry


def _list(store: Any, folder: str, source: str, *, is_root: bool) -> list[Entry]:
    try:
        with reaching(source):
            found: list[Entry] = store.ls(folder, detail=True)
    except FileNotFoundError as error:
        if not is_root:  # it was removed meanwhile
            return []
        raise BulkError(f"there is no {source}; check the bucket and the path") from error
    # Otherwise fsspec keeps the list of each folder for the rest of the job.
    store.invalidate_cache(folder)
    return found
