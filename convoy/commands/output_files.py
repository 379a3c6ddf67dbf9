"""Files that a command writes at its end, checked before its work begins."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator


def _drawing(path: Path) -> Path:
    if path.suffix.lower() not in (".png", ".svg"):
        raise ValueError(f"'{path}' must end in .png or .svg")
    return path


Drawing = Annotated[Path, AfterValidator(_drawing)]
"""A file for a figure, whose kind is told by its suffix."""


def prepare(*files: Path | None) -> None:
    """
    Prove that *files* can be written, and make their folders: minutes of results may depend on it.

    Raises:
        OSError: If one of them cannot be written.
    """
    for file in files:
        if file is None:
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))
        is_new = not file.exists()
        with file.open("ab"):
            pass
        if is_new:  # nothing is to be left there if there will be no results
            file.unlink()
        # The results replace the file, so that its folder must take another one.
        elif file.is_file() and not os.access(file.resolve().parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file.parent))


def prepare_beside_graph(folder: Path) -> None:
    """
    Prove that a file can be added to the artifact in *folder*; make none, as a server may look.

    Raises:
        OSError: If it cannot be.
    """
    # It is written beside the folder of the version first.
    for place in (folder, folder.resolve().parent):
        if not os.access(place, os.W_OK):
            is_fixed = os.statvfs(place).f_flag & os.ST_RDONLY
            number = errno.EROFS if is_fixed else errno.EACCES
            raise OSError(number, os.strerror(number), str(place))


def explain(error: OSError) -> str:
    """
    Return *error* in one line, with the file if it is known: a full disk has none.

    Raises:
        BrokenPipeError: If it is one: the end of the reader, such as `head`, is no error.
    """
    if isinstance(error, BrokenPipeError):
        raise error
    text = error.strerror or str(error)
    return f"{error.filename}: {text}" if error.filename else text
