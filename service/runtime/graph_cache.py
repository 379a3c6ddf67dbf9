"""Graphs as ONNX Runtime optimised them for this machine, kept so that they open faster again.

ONNX Runtime lays out weights for the processor it runs on, so a kept graph is found only under a
key of the model's hash, ONNX Runtime's version and the processor. Nothing is trusted more for it:
a graph from here must give the golden answers as any other, and one that does not is made anew.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import onnxruntime

from convoy.artifact.files import Artifact

logger = logging.getLogger(__name__)

LEAST_MODEL_BYTES = 1 << 20
"""Smaller models open in milliseconds anyway and leave no trace on the disk."""

CPU_INFO = Path("/proc/cpuinfo")


class GraphCache:
    """
    A folder of optimised graphs.

    Args:
        folder: Made where it is missing; None keeps nothing.
        max_bytes: Most that is kept; what was not used for longest goes first.
    """

    def __init__(self, folder: Path | None, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def find(self, artifact: Artifact) -> Path | None:
        """The optimised graph of *artifact*, if it is kept."""
        if self._folder is None:
            return None
        path = self._folder / _key(artifact)
        try:
            os.utime(path)  # used now
        except OSError:
            return None
        return path

    @contextmanager
    def keeping(self, artifact: Artifact) -> Iterator[Path | None]:
        """
        Give a path for ONNX Runtime to write the optimised graph to while the block runs.

        It is kept if the block ends well. None is given where nothing is to be kept: the model
        is small, or the folder cannot be written.
        """
        written = self._place_for(artifact)
        if self._folder is None or written is None:
            yield None
            return
        try:
            yield written
            written.replace(self._folder / _key(artifact))
            self._make_room()
        except OSError as error:
            logger.warning("the optimised graph is not kept", extra={"reason": str(error)})
        finally:
            written.unlink(missing_ok=True)

    def drop(self, artifact: Artifact) -> None:
        """Forget the graph of *artifact*: it was of no use."""
        if self._folder is not None:
            with suppress(OSError):
                (self._folder / _key(artifact)).unlink(missing_ok=True)

    def _place_for(self, artifact: Artifact) -> Path | None:
        if self._folder is None or artifact.model_path.stat().st_size < LEAST_MODEL_BYTES:
            return None
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, name = tempfile.mkstemp(prefix=".writing-", suffix=".onnx", dir=self._folder)
        except OSError as error:
            logger.warning("optimised graphs are not kept", extra={"reason": str(error)})
            return None
        os.close(handle)
        return Path(name)

    def _make_room(self) -> None:
        assert self._folder is not None
        kept = sorted(self._folder.glob("*.onnx"), key=lambda path: -path.stat().st_mtime)
        total = 0
        for path in kept:
            total += path.stat().st_size
            if total > self._max_bytes:
                path.unlink(missing_ok=True)


def _key(artifact: Artifact) -> str:
    parts = (artifact.manifest.model_sha256, onnxruntime.__version__, _processor())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest() + ".onnx"


def _processor() -> str:
    """What the processor can do, as far as the system tells."""
    wanted = ("model name", "flags", "Features", "CPU part")
    with suppress(OSError):
        lines = CPU_INFO.read_text().split("\n\n")[0].splitlines()
        return "\n".join(line for line in lines if line.startswith(wanted))
    return platform.processor() or platform.machine()
