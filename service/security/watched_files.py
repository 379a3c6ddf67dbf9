"""Files that may change while the server runs, such as certificates and tokens."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from convoy.service.errors import StartError

logger = logging.getLogger(__name__)

_Stamp = tuple[int, ...] | None


class WatchedFiles:
    """
    Files that are loaded again when one of them changes.

    Make it before the files are loaded for the first time: a change after that is noticed. Links
    are followed: Kubernetes replaces the files of a secret by redirecting a link.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self._files = list(files)
        self._seen = self._stamps()

    def reload_if_changed(self, load: Callable[[], None]) -> bool:
        """
        Load the files if they have changed; if that fails, the old contents stay in use.

        Args:
            load: Loads the files; raises `StartError` if their contents cannot be used.

        Returns:
            True if changed files were loaded.
        """
        stamps = self._stamps()
        if stamps == self._seen:
            return False
        # Also if loading fails: the next attempt waits for another change.
        self._seen = stamps
        files = {"files": [str(file) for file in self._files]}
        try:
            load()
        except StartError as error:
            logger.error(
                "cannot load changed files, still using their previous contents",
                extra={**files, "error": str(error)},
            )
            return False
        logger.info("loaded changed files", extra=files)
        return True

    def _stamps(self) -> list[_Stamp]:
        return [_stamp(file) for file in self._files]


def _stamp(file: Path) -> _Stamp:
    try:
        status = file.stat()
    except OSError:
        return None  # `load` reports the reason
    # The time of the last change of the file's own record: tools that copy set the other one back.
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size
