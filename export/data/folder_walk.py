"""Visible files and folders of a data set, read through symbolic links, and each folder once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from convoy.export.errors import DataError

_SYSTEM_FOLDERS = {"__macosx", "@eadir", "lost+found", "$recycle.bin"}
"""Folders that programs for archives and operating systems add, in lower case."""


class FolderWalk:
    """
    A walk through folders below *root*, which enters each real folder once.

    A link may lead to a folder of another class, or of another part: its images would have the
    wrong label, or be trained on and tested on.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._real_root = Path(os.path.realpath(root))  # also of a link to itself
        self._entered: dict[str, Path] = {}
        """The names under which real folders were entered."""

    def files_below(self, folder: Path) -> Iterator[Path]:
        """
        Yield the visible files in *folder* and the folders below it, also through links.

        Raises:
            DataError: If a folder cannot be read, or was entered before.
        """
        for parent, names, files in os.walk(folder, followlinks=True, onerror=_raise):
            self._enter(Path(parent))
            names[:] = filter(_is_visible, names)
            yield from (Path(parent, name) for name in files if _is_visible(name))

    def _enter(self, folder: Path) -> None:
        real = os.path.realpath(folder)
        before = self._entered.setdefault(real, folder)
        # A link to a folder above the data set leads back into it, after much else.
        if folder != self._root and self._real_root.is_relative_to(real):
            before = self._root
        if before == folder:
            return
        link, other = (folder, before) if self._link_in(folder) else (before, folder)
        link = self._link_in(link) or link
        raise DataError(
            f"the symbolic link {link} leads to {link.resolve()}, whose images are also read "
            f"through {other}: remove one of them, so that each image is read once"
        )

    def _link_in(self, folder: Path) -> Path | None:
        """Return the last link on the way from the root to *folder*."""
        below = [path for path in (folder, *folder.parents) if self._root in path.parents]
        return next((path for path in below if path.is_symlink()), None)


def folders_in(root: Path) -> list[Path]:
    """
    Return the visible folders in *root*, sorted.

    Raises:
        DataError: If it cannot be read.
    """
    return [path for path in visible_in(root) if path.is_dir()]


def visible_in(folder: Path) -> list[Path]:
    """
    Return the visible files and folders in *folder*, sorted.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        return sorted(path for path in folder.iterdir() if _is_visible(path.name))
    except OSError as error:
        raise DataError(f"cannot read the data folder {folder}: {error.strerror}") from error


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in _SYSTEM_FOLDERS


def _raise(error: OSError) -> None:
    raise DataError(f"cannot read the data folder {error.filename}: {error.strerror}") from error
