"""A model repository in a store that fsspec reaches: S3, GCS, Azure and others.

Looking is done in the store; an artifact is copied to the disk before it is read, once for each
state of its files, and appears there whole or not at all.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec

from convoy.artifact.errors import ArtifactError, RepositoryError
from convoy.artifact.files import ALL_FILES, Artifact
from convoy.artifact.manifest import MODEL_NAME
from convoy.artifact.repository import VERSION, ModelRepository

_NAME = re.compile(MODEL_NAME)


class RemoteRepository:
    """
    Artifacts below a URL, `<url>/<name>/<version>/`.

    Args:
        url: Such as `s3://bucket/models`.
        copies: Folder for the copies; one repository's lie in a folder of their own.

    Raises:
        RepositoryError: If there is no such kind of store, or its package is not installed.
    """

    def __init__(self, url: str, copies: Path) -> None:
        self._url = url
        self._copies = copies / _hash(url)
        try:
            self._store, self._path = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise RepositoryError(f"cannot reach {url}: {error}") from error

    def names(self) -> list[str]:
        """
        Names of the models in the store, sorted.

        Raises:
            RepositoryError: If it cannot be read.
        """
        names = (name for name in self._folders(self._path) if _NAME.fullmatch(name))
        return sorted(name for name in names if self.versions(name))

    def versions(self, name: str) -> list[int]:
        """
        Versions of a model in the store, ascending; empty if there is no such model.

        Raises:
            RepositoryError: If it cannot be read.
        """
        if not _NAME.fullmatch(name):
            return []
        found = self._folders(f"{self._path}/{name}")
        return sorted(int(number) for number in found if VERSION.fullmatch(number))

    def signature(self, name: str, version: int) -> tuple[str, ...]:
        """
        Something that changes when a file of the version does; reads no content.

        Raises:
            RepositoryError: If the store cannot be read.
        """
        folder = f"{self._path}/{name}/{version}"
        with self._reading():
            self._store.invalidate_cache(folder)
            found = self._store.ls(folder, detail=True)
            return tuple(
                sorted(f"{file['name']} {self._store.ukey(file['name'])}" for file in found)
            )

    def read(self, name: str, version: int) -> Artifact:
        """
        Copy a version to the disk, unless it lies there as it is in the store, and read it.

        Raises:
            ArtifactError: As `ModelRepository.read`.
            RepositoryError: If the store cannot be read, or the disk not be written.
        """
        if version not in self.versions(name):
            raise ArtifactError(f"{self._url}: holds no version {version} of a model {name!r}")
        states = self._copies / name / str(version)
        copy = states / _hash("\n".join(self.signature(name, version)))
        if not copy.is_dir():
            self._copy(name, version, copy)
        _remove_all_but(states, {copy.name})
        _remove_all_but(states.parent, {str(number) for number in self.versions(name)})
        return ModelRepository(copy).read(name, version)

    def _copy(self, name: str, version: int, target: Path) -> None:
        source = f"{self._path}/{name}/{version}"
        with self._reading():
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".copying-") as made:
                folder = Path(made) / target.name / name / str(version)
                folder.mkdir(parents=True)
                for file in self._store.ls(source, detail=False):
                    part = _last_part(file)
                    if part in ALL_FILES:
                        self._store.get_file(file, str(folder / part))
                    else:
                        (folder / part).touch()  # so that reading refuses it by its name
                (Path(made) / target.name).rename(target)

    def _folders(self, path: str) -> list[str]:
        with self._reading():
            self._store.invalidate_cache(path)
            try:
                found = self._store.ls(path, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                if path == self._path:
                    raise
                return []
            return [_last_part(entry["name"]) for entry in found if entry["type"] == "directory"]

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except RepositoryError:
            raise
        except Exception as error:  # each store raises what its own library does
            raise RepositoryError(f"cannot read {self._url}: {error}") from error


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _last_part(path: str) -> str:
    return path.rstrip("/").rsplit("/", 1)[1]


def _remove_all_but(folder: Path, kept: set[str]) -> None:
    """Remove the copies of what is not in the store any more."""
    for path in folder.iterdir():
        if path.name not in kept and not path.name.startswith("."):
            shutil.rmtree(path, ignore_errors=True)
