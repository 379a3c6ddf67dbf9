"""Image files that a command is to read."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePath

from convoy.artifact.entries import is_foreign
from convoy.commands.command_line import UsageError

IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png"}
    | {".tif", ".tiff", ".webp"}
)
"""The suffixes of the files of a folder that are images: those of `artifact.image_formats`, which
needs Pillow."""


def find_images(paths: Iterable[Path]) -> Iterator[Path]:
    """
    Yield *paths*, with each folder replaced by the images in it and below it, sorted.

    Raises:
        UsageError: If a folder holds no image.
        OSError: If a folder cannot be read.
    """
    for path in paths:
        if not path.is_dir():  # a file that was named is read, whatever its suffix
            yield path
            continue
        found = sorted(Path(entry) for entry in images_below(str(path)))
        if not found:
            raise UsageError(f"no images in {path}")
        yield from found


def read_image(path: Path, named: Collection[Path]) -> bytes:
    """
    Read an image that was found; wait for the writer of a pipe only if the user *named* it.

    Raises:
        OSError: If it cannot be read, or is a pipe or a socket in a folder.
    """
    if path not in named and path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a file, but a pipe or a socket", str(path))
    return path.read_bytes()


def images_below(folder: str) -> Iterator[os.DirEntry[str]]:
    """
    Yield the images in a folder and below it, in the order of the disk.

    Links to folders are followed. A folder that was read already is not read again, so that a link
    that leads back ends there. A link that leads nowhere, to itself, or to where this user may not
    look, is yielded if it has the name of an image.

    Raises:
        OSError: If a folder cannot be read.
    """
    for inner in folders_below(folder):
        with os.scandir(inner) as entries:
            # In a folder, only the suffix tells images from labels and archives.
            yield from (e for e in entries if has_image_name(e.name) and not _is_folder(e))


def folders_below(folder: str) -> Iterator[str]:
    """
    Yield *folder* and the folders below it, also through links; each real folder once.

    Raises:
        OSError: If a folder cannot be read.
    """
    folders, read = [folder], set()
    while folders:
        folder = folders.pop()
        state = os.stat(folder)
        if (state.st_dev, state.st_ino) in read:
            continue
        read.add((state.st_dev, state.st_ino))
        yield folder
        with os.scandir(folder) as entries:
            folders += [e.path for e in entries if is_entered(e.path) and _is_folder(e)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        # A link to itself is like one that leads nowhere; others are the fault of one image.
        if error.errno == errno.ELOOP or has_image_name(entry.name):
            return False
        raise


def is_entered(folder: str) -> bool:
    """Return whether to read a subfolder: hidden ones and those of systems are left out."""
    return not is_foreign(folder.rstrip("/").rpartition("/")[2])


def has_image_name(path: str) -> bool:
    """Return whether the file name of *path* is that of an image, and not hidden."""
    name = path.rpartition("/")[2]
    return not name.startswith(".") and PurePath(name).suffix.lower() in IMAGE_SUFFIXES
