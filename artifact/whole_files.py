"""Files that are replaced whole: a killed process or a full disk leaves the previous content."""

from __future__ import annotations

from collections.abc import Iterator
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
    # Written outside of the version's folder, which may hold no other file, then renamed into it.
    write_whole(folder / name, text, folder.parent / f".{folder.name}-{name}")
