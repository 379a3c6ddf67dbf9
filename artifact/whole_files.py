"""Files that are replaced whole: a killed process or a full disk leaves the previous content."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def unfinished(path: Path, mark: str = ".half") -> Path:
    """Return the path beside *path* for its unfinished content; *mark* is a part of its name."""
    return path.with_name(f"{path.name}{mark}{path.suffix}")  # some writers tell formats by suffix


@contextmanager
def replacing(path: Path, half: Path | None = None) -> Iterator[Path]:
    """
    Yield a path to write to. The file there replaces *path* when the block ends.

    If the block raises (Ctrl-C included), that file is removed. A pipe or a device, such as
    `/dev/stdout`, is written to directly.

    Args:
        half: Where to write, on the file system of *path*; by default beside *path*.

    Raises:
        OSError: If the file cannot be written.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    target = path.resolve()  # a link stays a link
    half = half or unfinished(target)
    try:
        yield half
        half.replace(target)
    finally:
        half.unlink(missing_ok=True)


def write_whole(path: Path, text: str, half: Path | None = None) -> None:
    """Write *text* to *path*, as `replacing` does."""
    with replacing(path, half) as place:
        place.write_text(text, encoding="utf-8")


def write_beside_graph(folder: Path, name: str, text: str) -> None:
    """
    Write the file *name* of the artifact in *folder*.

    Raises:
        OSError: If the file cannot be written.
    """
    update_beside_graph(folder, name, lambda: text)


def update_beside_graph(folder: Path, name: str, content: Callable[[], str]) -> None:
    """
    Write what *content* returns to the file *name* of the artifact in *folder*.

    Until the file is written, no other process writes one: *content* may read the file that is
    there, and add to it.

    Raises:
        OSError: If the file cannot be written.
    """
    # Written outside of the version's folder, which may hold no other file, then renamed into it.
    # The folder around it is locked: an unpublished version's own folder already is, by its writer.
    with _locked(folder.parent):
        write_whole(folder / name, content(), folder.parent / f".{folder.name}-{name}")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Wait until no other process has locked *folder*, and lock it until the block ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
