"""A cache of graphs that ONNX Runtime has optimised for this machine, so that they open faster.

ONNX Runtime lays out weights for the processor that it runs on. The key of a cached graph is
therefore made of the model's hash, ONNX Runtime's version and the processor. A cached graph is
proven against the golden answers like any other, and replaced if it fails.
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
"""Smaller models are not cached: they open in milliseconds."""

CPU_INFO = Path("/proc/cpuinfo")


class GraphCache:
    """
    A folder of optimised graphs.

    Args:
        folder: Created if it is missing; None disables the cache.
        max_bytes: Limit of its size; the least recently used graphs are removed first.
        cpu_info: File that describes the processor.
    """

    def __init__(self, folder: Path | None, max_bytes: int, cpu_info: Path = CPU_INFO) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._processor = _describe_processor(cpu_info) if folder else ""

    def find(self, artifact: Artifact) -> Path | None:
        """Return the path of the optimised graph of *artifact*, or None."""
        if self._folder is None:
            return None
        path = self._folder / self._key(artifact)
        try:
            os.utime(path)  # marks it as used now
        except OSError:
            return None
        return path

    @contextmanager
    def keeping(self, artifact: Artifact) -> Iterator[Path | None]:
        """
        Yield a path to which ONNX Runtime writes the optimised graph in the block.

        The graph is cached if the block raises no error. Yields None if nothing is to be cached:
        the model is small, or the folder cannot be written.
        """
        written = self._place_for(artifact)
        if self._folder is None or written is None:
            yield None
            return
        try:
            yield written
            written.replace(self._folder / self._key(artifact))
            self._make_room()
        except OSError as error:
            logger.warning("cannot cache an optimised graph", extra={"reason": str(error)})
        finally:
            written.unlink(missing_ok=True)  # left there by a failure

    def drop(self, artifact: Artifact) -> None:
        """Remove the graph of *artifact*, which cannot be used."""
        if self._folder is not None:
            with suppress(OSError):
                (self._folder / self._key(artifact)).unlink(missing_ok=True)

    def _place_for(self, artifact: Artifact) -> Path | None:
        if self._folder is None or artifact.model_path.stat().st_size < LEAST_MODEL_BYTES:
            return None
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, name = tempfile.mkstemp(prefix=".writing-", suffix=".onnx", dir=self._folder)
        except OSError as error:
            logger.warning("cannot cache optimised graphs", extra={"reason": str(error)})
            return None
        os.close(handle)
        return Path(name)

    def _make_room(self) -> None:
        assert self._folder is not None
        kept = sorted(self._folder.glob("*.onnx"), key=lambda path: -path.stat().st_mtime)
        total = 0
        for path in kept:  # the most recently used first
            total += path.stat().st_size
            if total > self._max_bytes:
                path.unlink(missing_ok=True)

    def _key(self, artifact: Artifact) -> str:
        parts = (artifact.manifest.model_sha256, onnxruntime.__version__, self._processor)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest() + ".onnx"


def _describe_processor(cpu_info: Path) -> str:
    """Describe the features of the processor, as far as the system reports them."""
    wanted = ("model name", "flags", "Features", "CPU part")
    with suppress(OSError):
        lines = cpu_info.read_text().split("\n\n")[0].splitlines()
        return "\n".join(line for line in lines if line.startswith(wanted))
    # No /proc: not Linux.
    return platform.processor() or platform.machine()
