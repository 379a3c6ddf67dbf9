"""Places for files, which appear there whole: a folder, or a URL."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any, Protocol

from convoy.artifact.errors import RepositoryError
from convoy.service.errors import StartError
from convoy.stores import is_url
from convoy.stores import open_store as open_file_system


class Store(Protocol):
    """A place for files, which appear there whole or not at all."""

    def write(self, path: str, content: bytes) -> None:
        """
        Write a file to *path*, relative to the store's root.

        Raises:
            OSError: If it cannot be written; other errors of a store's library may be raised, too.
        """


class FolderStore:
    """A store in the folder *root*."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def write(self, path: str, content: bytes) -> None:
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        # Hidden, so that readers of the folder skip it. Of a server that was killed it stays. Other
        # processes may write the same image, so that the name is random.
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.writing")
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(target)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


class UrlStore:
    """A store that fsspec reaches; an object appears once it is complete."""

    def __init__(self, store: Any, root: str) -> None:
        self._store = store
        self._root = root

    def write(self, path: str, content: bytes) -> None:
        self._store.pipe_file(f"{self._root}/{path}", content)


def open_store(location: str) -> Store:
    """
    Open the store in a folder, or at a URL.

    Raises:
        StartError: If it cannot be written, or its package is not installed.
    """
    try:
        if is_url(location):
            return UrlStore(*open_file_system(location))
        folder = Path(location)
        folder.mkdir(parents=True, exist_ok=True)
    except RepositoryError as error:
        raise StartError(str(error)) from error
    except OSError as error:
        raise StartError(f"cannot write to {location}: {error.strerror}") from error
    return FolderStore(folder)
