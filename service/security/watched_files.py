"""Files that may change while the server runs, such as certificates and tokens."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from convoy.service.errors import StartError

logger = logging.getLogger(__name__)

_Stamp = tuple[int, int, int] | None


class FollowedFiles:
    """
    Files and what to do when one of them has changed.

    Links are followed: Kubernetes replaces the files of a secret by turning one.

    Args:
        load: Takes what the files hold; raises `StartError` if that is of no use.
    """

    def __init__(self, files: Iterable[Path], load: Callable[[], None]) -> None:
        self._files = list(files)
        self._load = load
        self._seen = self._stamps()

    def look(self) -> None:
        """Load the files if they have changed; where that fails, what was loaded stays."""
        stamps = self._stamps()
        if stamps == self._seen:
            return
        self._seen = stamps
        named = {"files": [str(file) for file in self._files]}
        try:
            self._load()
        except StartError as error:
            logger.error("changed files are of no use", extra={**named, "error": str(error)})
        else:
            logger.info("changed files are loaded", extra=named)

    def _stamps(self) -> list[_Stamp]:
        return [_stamp(file) for file in self._files]


def _stamp(file: Path) -> _Stamp:
    try:
        status = file.stat()
    except OSError:
        return None  # `load` tells why
    return status.st_ino, status.st_mtime_ns, status.st_size
