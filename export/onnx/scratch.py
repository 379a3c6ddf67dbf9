"""Temporary folders for graphs, which ONNX Runtime's tools read from files and write to files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convoy.export.errors import ScratchError


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """
    Yield a temporary folder, which is removed when the block ends.

    Raises:
        ScratchError: If it cannot be made, or a file in it cannot be written or read.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="convoy-") as folder:
            yield Path(folder)
    except OSError as error:
        raise ScratchError(
            f"cannot write temporary files: {error.strerror or error} at "
            f"{error.filename or tempfile.gettempdir()}; make room, or set TMPDIR to another disk"
        ) from error
