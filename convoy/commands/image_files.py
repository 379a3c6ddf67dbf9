"""Image files that a command is to read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath

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
    """
    for path in paths:
        if not path.is_dir():  # a file that was named is read, whatever its suffix
            yield path
            continue
        # In a folder, only the suffix tells images from labels and archives.
        found = sorted(p for p in path.rglob("*") if _is_image(p))
        if not found:
            raise UsageError(f"no images in {path}")
        yield from found


def has_image_name(path: str) -> bool:
    """Return whether the file name of *path* is that of an image, and not hidden."""
    name = path.rpartition("/")[2]
    return not name.startswith(".") and PurePath(name).suffix.lower() in IMAGE_SUFFIXES


def _is_image(path: Path) -> bool:
    return has_image_name(str(path)) and path.is_file()
