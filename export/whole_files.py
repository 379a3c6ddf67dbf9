"""Files that are replaced whole, whose writers have errors of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from convoy.artifact import whole_files
from convoy.export.errors import ExportError

WRITERS_ERRORS: tuple[type[Exception], ...] = (RuntimeError,)
"""Errors of torch for a file that cannot be written; and of safetensors, where it is installed."""

with suppress(ImportError):  # only training needs it
    from safetensors import SafetensorError

    WRITERS_ERRORS = (RuntimeError, SafetensorError)


@contextmanager
def replacing(path: Path, mark: str = ".half") -> Iterator[Path]:
    """
    Yield a path beside *path* to write to. The file there replaces *path* when the block ends.

    If the block raises (Ctrl-C included), that file is removed.

    Args:
        mark: Part of its name; different ones for processes that write at the same time.

    Raises:
        ExportError: If the file cannot be written, such as on a full disk.
    """
    try:
        with whole_files.replacing(path, whole_files.unfinished(path, mark)) as half:
            yield half
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error.strerror or error}") from error
    except WRITERS_ERRORS as error:
        raise ExportError(f"cannot write {path}; is the disk full? ({_line(error)})") from error


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0]
