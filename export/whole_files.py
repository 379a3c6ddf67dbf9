"""Files that are replaced whole, whose writers have errors of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from convoy.artifact import whole_files
from convoy.export.errors import ExportError


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
    # torch and safetensors have errors of their own for files that cannot be written.
    except (RuntimeError, SafetensorError) as error:
        raise ExportError(f"cannot write {path}; is the disk full? ({_line(error)})") from error


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0]
